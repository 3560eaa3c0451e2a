//! Figures of merit, on the host: each a function of numbers that a network has given, one a file, with its formula and
//! where it is from. The Fréchet distance, which needs a matrix's root, is the trainer's.

mod calibration;
mod fisher_score;
mod histogram;
mod inception_score;
mod kernel_distance;
mod mean;
mod nearest;
mod pairwise_distance;
mod precision_recall;
mod psnr;
mod rank_correlation;
mod roc;
mod ssim;

pub use calibration::{Bin, expected_calibration_error, largest_calibration_error, reliability};
pub use fisher_score::{FisherScore, fisher_score};
pub use histogram::{Histogram, common_range};
pub use inception_score::inception_score;
pub use kernel_distance::kernel_distance;
pub use mean::{mean, standard_error};
pub use nearest::nearest;
pub use pairwise_distance::mean_pairwise_distance;
pub use precision_recall::{PrecisionRecall, precision_recall};
pub use psnr::psnr;
pub use rank_correlation::rank_correlation;
pub use roc::auc;
pub use ssim::ssim;
