//! The command line as typed; nothing is opened or checked here.

use std::{fmt, path::PathBuf, str::FromStr};

use basin_shared::{
    attacks::{AttackName, Norm},
    file::container::LARGEST_RANK,
    ranges,
    samplers::ByDistance,
};
use clap::{
    Args, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
    value_parser,
};

use crate::device::DeviceChoice;

/// A number, or a fraction of two, such as 8/255.
pub(crate) fn fraction(text: &str) -> Result<f32, String> {
    let number = |text: &str| text.trim().parse::<f64>();
    let found = match text.split_once('/') {
        None => text.parse().ok(),
        Some((above, below)) => match (number(above), number(below)) {
            (Ok(above), Ok(below)) if below != 0.0 => Some((above / below) as f32),
            _ => None,
        },
    };
    found.ok_or_else(|| "expected a number, or a fraction such as 8/255".into())
}

/// The radius of a ball in L-infinity, where people forget that pixel values end at 1.
pub(crate) fn check_epsilon(epsilon: f32) -> Result<f32, String> {
    let right = ranges::check("epsilon", epsilon).map(|()| epsilon);
    right.map_err(|fault| match epsilon > 1.0 && epsilon <= 255.0 {
        true => format!("{fault}; did you mean {epsilon}/255?"),
        false => fault.to_string(),
    })
}

fn epsilon(text: &str) -> Result<f32, String> {
    check_epsilon(fraction(text)?)
}

/// A number in the range of the setting of this name.
fn number(name: &'static str) -> impl Fn(&str) -> Result<f32, String> + Clone {
    move |text| {
        let found = fraction(text)?;
        let right = ranges::check(name, found).map(|()| found);
        right.map_err(|fault| fault.to_string())
    }
}

/// The same, a whole number.
fn count(name: &'static str) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let found: usize = text.parse().map_err(|_| "expected a whole number")?;
        let right = ranges::check(name, found as f64).map(|()| found);
        right.map_err(|fault| fault.to_string())
    }
}

/// Train, attack, evaluate and export classifiers that are also energy-based models.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Where to compute: auto, cpu, cuda, cuda:INDEX or wgpu.
    #[arg(long, global = true, default_value = "auto")]
    pub device: DeviceChoice,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a model as a recipe says.
    Train(Train),
    /// Measure a model file on the test set.
    Evaluate(Evaluate),
    /// Make adversarial examples of test images, and measure what accuracy they leave.
    Attack(Attack),
    /// Look for settings with which a model draws and cleans well, and write them into its card.
    TuneSampler(TuneSampler),
    /// Draw images of each class.
    Generate(Generate),
    /// Clean noisy images.
    Denoise(Denoise),
    /// Fill in holes, enlarge, or colour pictures.
    Restore(Restore),
    /// Make a model file of a run's newest or best checkpoint.
    Export(Export),
    /// Make a model file of the mean of several model files' weights.
    Average(Average),
    /// Make a model file of weights that were trained with PyTorch.
    Import(Import),
    /// Carry a run to another machine.
    #[command(subcommand)]
    Checkpoint(Checkpoint),
    /// Draw a run's curves and samples into one page.
    Report(Report),
    /// Put the page and models of your own into a folder for any host of static files.
    Publish(Publish),
    /// Measure what an iteration of recipes costs on this machine, on made-up images.
    Benchmark(Benchmark),
    /// List the recipes that come with the program, or show one.
    Recipes(Recipes),
    /// Print what completes commands in a shell.
    Completions(Completions),
    /// Write pages of the manual.
    Man(Man),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  basin train jeat-fashion-mnist\n  basin train dsm-fashion-mnist --run runs/dsm --set iterations=20000\n  basin train dsm-fashion-mnist --run runs/dsm --set iterations=20000 --resume\n  basin train my.toml --weights model.safetensors --devices cuda:0,cuda:1"
)]
pub(crate) struct Train {
    /// The recipe: a file, or the name of one that `basin recipes` lists.
    pub recipe: PathBuf,
    /// Change a number of the recipe, such as --set optimizer.momentum=0.8; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Directory of the run: checkpoints, metrics, samples [default: runs/RECIPE].
    #[arg(long)]
    pub run: Option<PathBuf>,
    /// Go on from the run's newest checkpoint.
    #[arg(long)]
    pub resume: bool,
    /// Go on under the recipe given though the run was begun under another; needs the same network,
    /// method and data. Both recipes are kept.
    #[arg(long, requires = "resume")]
    pub change_recipe: bool,
    /// Begin with the weights of this model file, of the same network or of a narrower one, which is widened (Net2Net), instead of random ones.
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub weights: Option<PathBuf>,
    /// Devices that share each batch, such as cuda:0,cuda:1, in the place of --device; the first of
    /// them makes the steps. Their number must divide the batch size.
    #[arg(long, value_delimiter = ',', value_name = "DEVICE,…")]
    pub devices: Vec<DeviceChoice>,
    #[command(flatten)]
    pub data: DataArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  basin publish site model.safetensors other.safetensors\n  basin publish site model.safetensors --address https://example.org/basin/"
)]
pub(crate) struct Publish {
    /// The folder to make; it must be empty or not there yet.
    pub folder: PathBuf,
    /// Model files, which are listed before the page's own.
    pub models: Vec<PathBuf>,
    /// The built page, as `cargo xtask build` leaves it.
    #[arg(long, value_name = "FOLDER", default_value = "dist")]
    pub page: PathBuf,
    /// The address that the folder will have, such as https://example.org/basin/; other sites need it for the picture
    /// that they show of a link.
    #[arg(long, value_name = "URL")]
    pub address: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    /// Directory with the data set's official files, instead of downloading them; or in which the
    /// recipe's folder of pictures lies.
    #[arg(long, value_name = "DIRECTORY")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  basin evaluate model.safetensors\n  basin evaluate model.safetensors --attacked 1000 --generated 0 --json -\n  basin evaluate model.safetensors --judge judge.safetensors --card\n  basin evaluate model.safetensors --suite paper --judge judge.safetensors --state paper.json\n  basin evaluate a.safetensors b.safetensors"
)]
pub(crate) struct Evaluate {
    /// The model file; several of the same data are compared in one table.
    #[arg(required = true, value_name = "MODEL")]
    pub models: Vec<PathBuf>,
    /// Which figures: the quick ones, or every one that the papers print and the data at hand allow.
    #[arg(long, value_enum, default_value = "quick")]
    pub suite: Suite,
    /// Model file of a standard classifier of the same data, which names the generated images.
    #[arg(long)]
    pub judge: Option<PathBuf>,
    /// Weights of the Inception network of TensorFlow's FID, a safetensors file by torch-fidelity's names, for FID, KID
    /// and the Inception score.
    #[arg(long, value_name = "FILE")]
    pub inception: Option<PathBuf>,
    /// Another model of the same data, on which adversarial examples are made too; may be given again.
    #[arg(long, value_name = "MODEL")]
    pub transfer: Vec<PathBuf>,
    /// Radius of the attacks in L-infinity [default: 8/255 of colour images, 0.1 of grey ones].
    #[arg(long, value_parser = epsilon, allow_hyphen_values = true)]
    pub epsilon: Option<f32>,
    /// Test images that are attacked by PGD-20, and by FGSM in the suite; 0 leaves accuracy under attack out.
    #[arg(long, default_value_t = 10_000)]
    pub attacked: usize,
    /// How many of these are attacked by PGD-100 with five restarts, and by way of --transfer, too.
    #[arg(long, default_value_t = 1_000)]
    pub attacked_again: usize,
    /// Test images of the suite's other figures that take long, AutoAttack's among them, from the first on.
    #[arg(long, default_value_t = 1_000, value_parser = count("images"), allow_negative_numbers = true)]
    pub images: usize,
    /// A folder of pictures that are told from test images, such as CelebA's; may be given again.
    #[arg(long, value_name = "DIRECTORY")]
    pub outliers: Vec<PathBuf>,
    /// The run that the model is of, over whose checkpoints energies are compared.
    #[arg(long, value_name = "DIRECTORY")]
    pub run: Option<PathBuf>,
    /// Write a sheet to this file, PNG or JPEG: drawn images beside the training images nearest to each.
    #[arg(long, value_name = "FILE")]
    pub neighbours: Option<PathBuf>,
    /// Images generated of each class, from each start; 0 leaves generation out.
    #[arg(long, default_value_t = 100)]
    pub generated: usize,
    /// Seed of the attack and the chains.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Write the figures as JSON to this file; `-` is the standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write AutoAttack's figure in the shape of RobustBench's files to this file.
    #[arg(long, value_name = "FILE")]
    pub robustbench: Option<PathBuf>,
    /// Keep what is known in this file, and go on from it if it is there.
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Write the figures into the model file's card.
    #[arg(long)]
    pub card: bool,
    /// A directory with a few test images in the official files' format: the card then also says what
    /// was measured on these alone, so that a test can tell whether card and model still agree.
    #[arg(long, value_name = "DIRECTORY")]
    pub check_dir: Option<PathBuf>,
    #[command(flatten)]
    pub data: DataArgs,
}

/// What `basin evaluate` measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Suite {
    Quick,
    Paper,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  basin attack model.safetensors\n  basin attack model.safetensors --attack apgd-t --epsilon 8/255 --images 200\n  basin attack model.safetensors --attack pgd,square --norm l2 --epsilon 0.5 --json -\n  basin attack model.safetensors --images 10000 --state attack.safetensors"
)]
pub(crate) struct Attack {
    /// The model file.
    pub model: PathBuf,
    /// Attacks, separated by commas, each on the images that withstood those before it: auto-attack is apgd-ce, apgd-t,
    /// fab-t and square.
    #[arg(
        long = "attack",
        value_name = "NAME,…",
        value_delimiter = ',',
        default_value = "auto-attack",
        value_parser = AttackChoice::parser()
    )]
    pub attacks: Vec<AttackChoice>,
    /// How changes are measured.
    #[arg(long, value_enum, default_value = "linf")]
    pub norm: NormArg,
    /// Radius of the ball, such as 8/255, of pixel values from 0 to 1 [default: 8/255 of colour images, 0.1 of grey
    /// ones; 0.5 of colour images in L2].
    #[arg(long, value_parser = fraction, allow_hyphen_values = true)]
    pub epsilon: Option<f32>,
    /// Test images, from the first on.
    #[arg(long, default_value_t = 1_000, value_parser = count("images"), allow_negative_numbers = true)]
    pub images: usize,
    /// Iterations of each attack, or changes that Square tries [default: those of AutoAttack and the papers].
    #[arg(long, value_parser = count("steps"), allow_negative_numbers = true)]
    pub steps: Option<usize>,
    /// How often each attack is tried, from another start each time.
    #[arg(long, value_parser = count("restarts"), allow_negative_numbers = true)]
    pub restarts: Option<usize>,
    /// How many other classes apgd-t and fab-t are aimed at, the likeliest first.
    #[arg(long, value_parser = count("targets"), allow_negative_numbers = true)]
    pub targets: Option<usize>,
    /// Seed of starts and draws.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// The sheet to write, PNG or JPEG: images, changes magnified, results.
    #[arg(long, short, default_value = "attacked.png")]
    pub output: PathBuf,
    /// Write the figures as JSON to this file; `-` is the standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the adversarial images, and which attack fooled the model with each, to this safetensors file.
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Keep what is known in this file, and go on from it if it is there.
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    #[command(flatten)]
    pub data: DataArgs,
}

/// An attack or an ensemble, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttackChoice {
    /// AutoAttack's version `standard`.
    AutoAttack,
    /// AutoAttack's version `plus`.
    AutoAttackPlus,
    /// One attack.
    Named(AttackName),
}

impl AttackChoice {
    fn parser() -> impl TypedValueParser<Value = Self> {
        let ensembles = ["auto-attack", "auto-attack-plus"].into_iter();
        let names: Vec<&str> = ensembles
            .chain(AttackName::ALL.map(AttackName::text))
            .collect();
        PossibleValuesParser::new(names).map(|text| match text.as_str() {
            "auto-attack" => Self::AutoAttack,
            "auto-attack-plus" => Self::AutoAttackPlus,
            name => {
                let named = AttackName::ALL
                    .into_iter()
                    .find(|attack| attack.text() == name);
                Self::Named(named.expect("one of the possible values"))
            }
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum NormArg {
    Linf,
    L2,
}

impl From<NormArg> for Norm {
    fn from(norm: NormArg) -> Self {
        match norm {
            NormArg::Linf => Self::Linf,
            NormArg::L2 => Self::L2,
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  basin tune-sampler model.safetensors --judge judge.safetensors --by-distance"
)]
pub(crate) struct TuneSampler {
    /// The model file.
    pub model: PathBuf,
    /// Model file of a standard classifier of the same data, which names the images drawn.
    #[arg(long)]
    pub judge: PathBuf,
    /// Samplers tried, the card's own among them.
    #[arg(long, default_value_t = 16, value_parser = value_parser!(u32).range(1..))]
    pub trials: u32,
    /// Images of each class that the last samplers left draw from each start.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(2..))]
    pub images: u32,
    /// Measure how far away the data are at each energy, and go by that, though the card has no such table yet.
    #[arg(long)]
    pub by_distance: bool,
    /// Write the figures as JSON to this file; `-` is the standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Seed of the trials and the chains.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub data: DataArgs,
}

/// Settings of a chain that replace the model card's.
#[derive(Debug, Default, Args)]
pub(crate) struct SamplerArgs {
    /// Steps of each chain.
    #[arg(long, value_parser = count("generation.steps"), allow_negative_numbers = true)]
    pub steps: Option<usize>,
    /// Step size, in [0, 1] pixel units.
    #[arg(long, value_parser = number("step_size"), allow_negative_numbers = true)]
    pub step_size: Option<f32>,
    /// Standard deviation of the noise of a step.
    #[arg(long, value_parser = number("noise_std"), allow_negative_numbers = true)]
    pub noise_std: Option<f32>,
    /// Share of the velocity that a step keeps.
    #[arg(long, value_parser = number("friction"), allow_negative_numbers = true)]
    pub friction: Option<f32>,
    /// Share of the way to the best guess that each step by distance goes.
    #[arg(long, value_parser = number("h"), allow_negative_numbers = true)]
    pub h: Option<f32>,
    /// How much of the noise each step by distance takes away, as a share of --h; 1 adds none.
    #[arg(long, value_parser = number("by_distance.beta"), allow_negative_numbers = true)]
    pub beta: Option<f32>,
    /// How many steps by distance add no noise, at the end.
    #[arg(long, value_parser = count("last_steps"), allow_negative_numbers = true)]
    pub last_steps: Option<usize>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  basin generate model.safetensors -o classes.png\n  basin generate model.safetensors --classes Sneaker,Bag --count 16 --seed 7"
)]
pub(crate) struct Generate {
    /// The model file.
    pub model: PathBuf,
    /// The picture to write, PNG or JPEG; one row a class.
    #[arg(long, short, default_value = "generated.png")]
    pub output: PathBuf,
    /// Class names or numbers, separated by commas [default: all].
    #[arg(long, value_delimiter = ',')]
    pub classes: Vec<String>,
    /// Images of each class.
    #[arg(long, default_value_t = 10, value_parser = count("count"), allow_negative_numbers = true)]
    pub count: usize,
    /// Seed of the starts and the noise.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where chains start [default: as the model card says].
    #[arg(long, value_enum)]
    pub start: Option<StartArg>,
    /// Take the card's settings for few steps.
    #[arg(long)]
    pub quick: bool,
    #[command(flatten)]
    pub sampler: SamplerArgs,
    /// Write the energies of every step as JSON to this file.
    #[arg(long, value_name = "FILE")]
    pub energies: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum StartArg {
    Uniform,
    ClassGaussian,
    ClassPca,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  basin denoise model.safetensors photo.jpg --noise 0.3\n  basin denoise model.safetensors noisy.png --noise 0 --known-noise 0.2"
)]
pub(crate) struct Denoise {
    /// The model file.
    pub model: PathBuf,
    /// Pictures to clean, PNG, JPEG, WebP or GIF, fitted to the model's size [default: test images].
    pub images: Vec<PathBuf>,
    /// The picture to write, PNG or JPEG; rows of clean and noisy images, the best guess in one step, and what the
    /// chain ends at.
    #[arg(long, short, default_value = "denoised.png")]
    pub output: PathBuf,
    /// Standard deviation of the Gaussian noise added first; 0 takes the pictures as they are.
    #[arg(long, default_value_t = 0.3, value_parser = number("noise"), allow_negative_numbers = true)]
    pub noise: f32,
    /// The standard deviation of all noise that the pictures have, for the best guess [default: the energy
    /// tells].
    #[arg(long, value_name = "STD", value_parser = number("known_noise"), allow_negative_numbers = true)]
    pub known_noise: Option<f32>,
    /// Test images taken where none are given.
    #[arg(long, default_value_t = 10, value_parser = count("count"), allow_negative_numbers = true)]
    pub count: usize,
    /// Seed of the noise.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub sampler: SamplerArgs,
    /// Write the figures as JSON to this file; `-` is the standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the energies of every step as JSON to this file.
    #[arg(long, value_name = "FILE")]
    pub energies: Option<PathBuf>,
    #[command(flatten)]
    pub data: DataArgs,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["mask", "enlarge", "colour"]))]
#[command(
    after_help = "Examples:\n  basin restore model.safetensors photo.jpg --mask hole.png\n  basin restore model.safetensors photo.jpg --enlarge 4\n  basin restore model.safetensors photo.jpg --colour"
)]
pub(crate) struct Restore {
    /// The model file.
    pub model: PathBuf,
    /// Pictures to restore, PNG, JPEG, WebP or GIF, fitted to the model's size [default: test images].
    pub images: Vec<PathBuf>,
    /// The picture to write, PNG or JPEG; a row of what is known, then of what is restored, seed after seed.
    #[arg(long, short, default_value = "restored.png")]
    pub output: PathBuf,
    /// A picture of the model's size that is white where there is a hole to fill in, or, with --colour, where
    /// the colour is not known.
    #[arg(long, value_name = "PNG")]
    pub mask: Option<PathBuf>,
    /// Enlarge by this factor: the pictures are first shrunk to the model's size over it.
    #[arg(long, value_name = "K", conflicts_with_all = ["mask", "colour"])]
    pub enlarge: Option<usize>,
    /// Find the colours of grey pictures.
    #[arg(long)]
    pub colour: bool,
    /// Class name or number of all pictures, where it is known [default: any].
    #[arg(long)]
    pub class: Option<String>,
    /// Test images taken where none are given.
    #[arg(long, default_value_t = 10, value_parser = count("count"), allow_negative_numbers = true)]
    pub count: usize,
    /// Standard deviation of the noise that each chain begins with, in [0, 1] pixel units: the more, the
    /// less a chain keeps of what a smooth guess from the surroundings says.
    #[arg(long, default_value_t = ByDistance::RESTORING_NOISE, value_parser = number("start_noise"), allow_negative_numbers = true)]
    pub(crate) start_noise: f32,
    /// How often each picture is restored, by one seed after the other.
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// The first seed, of the start and the noise.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub sampler: SamplerArgs,
    #[command(flatten)]
    pub data: DataArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  basin export runs/dsm -o model.safetensors\n  basin export runs/dsm --best --f32\n  basin export model.safetensors --pytorch weights.safetensors"
)]
pub(crate) struct Export {
    /// Directory of the run; with --pytorch it may be a model file.
    pub run: PathBuf,
    /// Take the checkpoint with the highest accuracy on validation images rather than the newest.
    #[arg(long)]
    pub best: bool,
    /// Write the weights as PyTorch's state dictionary to this safetensors file, by the names of the architecture's
    /// published code, and no model file.
    #[arg(long, value_name = "FILE")]
    pub pytorch: Option<PathBuf>,
    #[command(flatten)]
    pub file: ModelFileArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  basin average a.safetensors b.safetensors -o mean.safetensors"
)]
pub(crate) struct Average {
    /// Model files of one network; the card and the start of chains are the first one's.
    #[arg(required = true, num_args = 2.., value_name = "MODEL")]
    pub models: Vec<PathBuf>,
    /// The model file to write, in the precision of the first.
    #[arg(long, short, default_value = "model.safetensors")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  basin import weights.safetensors --recipe trades-cifar10 -o model.safetensors"
)]
pub(crate) struct Import {
    /// A PyTorch state dictionary as a safetensors file: what safetensors.torch.save_file makes of it.
    pub weights: PathBuf,
    /// The recipe that names the architecture, and what else belongs on the model card: a file, or one of `basin
    /// recipes`.
    #[arg(long)]
    pub recipe: PathBuf,
    /// Change a number of the recipe, such as --set architecture.width=2; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    #[command(flatten)]
    pub file: ModelFileArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ModelFileArgs {
    /// The model file to write.
    #[arg(long, short, default_value = "model.safetensors")]
    pub output: PathBuf,
    /// Store weights in single rather than half precision.
    #[arg(long)]
    pub f32: bool,
    /// Directions of the class Gaussians.
    #[arg(long, default_value_t = 32, value_parser = value_parser!(u32).range(1..=LARGEST_RANK as i64))]
    pub rank: u32,
    #[command(flatten)]
    pub data: DataArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Checkpoint {
    /// Split a run's newest checkpoint into small files.
    Pack {
        /// Directory of the run.
        run: PathBuf,
        /// Directory for the files; made if it is not there.
        #[arg(long, short)]
        output: PathBuf,
        /// Largest size of a file, in MB.
        #[arg(long, default_value_t = 16)]
        part_size: usize,
        /// Leave the replay buffer out: the run begins new chains where it goes on, and is then not
        /// the same to the bit.
        #[arg(long)]
        without_buffer: bool,
    },
    /// Make a run of such files, to go on with `basin train --resume`.
    Unpack {
        /// Directory of the files.
        parts: PathBuf,
        /// Directory of the run; made if it is not there.
        #[arg(long)]
        run: PathBuf,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  basin report runs/dsm -o report.html")]
pub(crate) struct Report {
    /// Directory of the run.
    pub run: PathBuf,
    /// The page to write [default: report.html in the run's directory].
    #[arg(long, short)]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  basin benchmark jeat-fashion-mnist at-cifar10 --networks 16-2,16-4"
)]
pub(crate) struct Benchmark {
    /// The recipes: files, or names that `basin recipes` lists.
    #[arg(required = true, value_name = "RECIPE")]
    pub recipes: Vec<PathBuf>,
    /// Measure each recipe on JEM's Wide-ResNet of these depths and widths, such as 16-1,16-2,16-4, rather
    /// than on its own network.
    #[arg(long, value_name = "DEPTH-WIDTH", value_delimiter = ',')]
    pub networks: Vec<NetworkSize>,
    /// Change a number of every recipe, such as --set batch_size=64; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// How long to measure each; one iteration is measured in any case.
    #[arg(long, default_value_t = 10.0, value_parser = number("seconds"), allow_negative_numbers = true)]
    pub seconds: f32,
    /// Compare the losses of so many iterations with the processor's, instead of measuring.
    #[arg(long, value_name = "ITERATIONS")]
    pub losses: Option<usize>,
}

/// Depth and width of a Wide-ResNet as people name it, such as 16-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NetworkSize {
    pub depth: usize,
    pub width: usize,
}

impl FromStr for NetworkSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('-');
        let numbers = parts.and_then(|(d, w)| Some((d.parse().ok()?, w.parse().ok()?)));
        match numbers {
            Some((depth, width)) => Ok(Self { depth, width }),
            None => Err("expected DEPTH-WIDTH, such as 16-2".into()),
        }
    }
}

impl fmt::Display for NetworkSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.depth, self.width)
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  basin recipes\n  basin recipes jeat-fashion-mnist > my.toml")]
pub(crate) struct Recipes {
    /// The recipe to show.
    pub name: Option<String>,
    /// The list as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  basin completions bash > /etc/bash_completion.d/basin\n  basin completions zsh > ~/.zfunc/_basin"
)]
pub(crate) struct Completions {
    /// Whose.
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  basin man -o ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// Directory for the pages; made if it is not there.
    #[arg(long, short, default_value = "man")]
    pub output: PathBuf,
}
