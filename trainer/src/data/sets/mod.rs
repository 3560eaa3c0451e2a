//! The data sets, one a file: which files hold one, and how.

pub(super) mod cifar;
pub(super) mod fashion_mnist;
pub(super) mod folder;
pub(super) mod mnist;
pub(super) mod svhn;
pub(super) mod tiny_imagenet;
