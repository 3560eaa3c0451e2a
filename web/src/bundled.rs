//! The models that come with the page, each with sample pictures of its data set.

use basin_protocol::{Model, class_names};

/// A model of the page's own; a first visitor sees the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Bundled {
    #[default]
    Cifar10,
    FashionMnist,
}

impl Bundled {
    /// In the order in which they are offered.
    pub const ALL: [Self; 2] = [Self::Cifar10, Self::FashionMnist];

    /// The name in a link, in a model card and of the folder of samples: that of the data set.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cifar10 => "cifar-10",
            Self::FashionMnist => "fashion-mnist",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bundled| bundled.name() == name)
    }

    /// The name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Cifar10 => "CIFAR-10",
            Self::FashionMnist => "Fashion-MNIST",
        }
    }

    /// Where the model file lies.
    pub fn file(self) -> String {
        format!("models/{}-dsm.safetensors", self.name())
    }

    /// Where the file of a standard network of the same classes lies.
    pub fn rival(self) -> String {
        format!("models/{}-judge.safetensors", self.name())
    }

    /// Where the sample picture of this class of test images lies.
    pub fn sample(self, index: usize) -> String {
        format!("samples/{}/{index}.png", self.name())
    }

    /// What the model drew of this class, for the moment before it is here.
    pub fn class_mean(self, class: usize) -> String {
        format!("samples/{}/class-{class}.png", self.name())
    }

    /// A dream of the model's, for the same moment.
    pub fn dream(self) -> String {
        format!("samples/{}/dream.png", self.name())
    }

    /// The classes, for the same moment.
    pub fn class_names(self) -> [&'static str; 10] {
        match self {
            Self::Cifar10 => class_names::CIFAR_10,
            Self::FashionMnist => class_names::FASHION_MNIST,
        }
    }

    /// The one whose samples a model should be shown: of its data set, or at least of its colours.
    pub fn nearest(model: &Model) -> Self {
        let same = Self::ALL.iter().find(|b| b.name() == model.data_set);
        same.copied().unwrap_or(match model.channels {
            1 => Self::FashionMnist,
            _ => Self::Cifar10,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::model;

    #[test]
    fn a_model_is_shown_samples_of_its_data_set_or_of_its_colours() {
        let mut model = model();
        assert_eq!(Bundled::nearest(&model), Bundled::FashionMnist);
        model.channels = 3;
        assert_eq!(Bundled::nearest(&model), Bundled::Cifar10);
        for bundled in Bundled::ALL {
            model.data_set = bundled.name().into();
            assert_eq!(Bundled::nearest(&model), bundled);
        }
    }

    #[test]
    fn all_that_is_named_lies_in_static() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../static/");
        for bundled in Bundled::ALL {
            let samples = (0..10).flat_map(|i| [bundled.sample(i), bundled.class_mean(i)]);
            let files = [bundled.file(), bundled.dream(), bundled.rival()];
            for path in samples.chain(files) {
                assert!(
                    std::fs::exists(format!("{folder}{path}")).unwrap(),
                    "{path}"
                );
            }
        }
    }
}
