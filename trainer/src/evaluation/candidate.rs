//! A model that is evaluated, and what it is evaluated on.

use std::cell::OnceCell;

use anyhow::Result;
use basin_shared::{
    Classifier, Key, ModelFile,
    attacks::{Attack, Budget},
    energy::Conditional,
    tensors::Frozen,
};
use burn::tensor::Device;

use super::{
    accuracy::BATCH, inception::Inception, judge::Judge, logits, robustness::default_epsilon,
};
use crate::{
    cli,
    data::{Images, Splits},
    model,
};

pub(crate) struct Candidate<'a> {
    pub file: &'a ModelFile,
    pub network: Frozen,
    pub data: Splits,
    /// The training images that were held out.
    pub validation: Images,
    /// What names the images that the model draws.
    pub judge: Option<Judge>,
    /// By whose features what it draws is compared with real images.
    pub inception: Option<Inception>,
    pub arguments: &'a cli::Evaluate,
    pub device: &'a Device,
    test_logits: OnceCell<Vec<f32>>,
}

impl<'a> Candidate<'a> {
    /// Reads what there is to evaluate a model on, and whatever else was named.
    pub(crate) fn new(
        file: &'a ModelFile,
        arguments: &'a cli::Evaluate,
        device: &'a Device,
    ) -> Result<Self> {
        let judge = arguments.judge.as_deref();
        let judge = judge.map(|path| Judge::read(path, file)).transpose()?;
        let inception = arguments.inception.as_deref();
        let inception = inception
            .map(|path| Inception::read(path, device))
            .transpose()?;
        for path in &arguments.transfer {
            model::of_same_classes(path, file)?;
        }
        let (data, validation) = model::data_and_validation(file, &arguments.data)?;
        Ok(Self {
            network: file.model(device).frozen(),
            file,
            data,
            validation,
            judge,
            inception,
            arguments,
            device,
            test_logits: OnceCell::new(),
        })
    }

    /// The logits of all test images, `[images, classes]`; computed once.
    pub(crate) fn test_logits(&self) -> Result<&[f32]> {
        if let Some(logits) = self.test_logits.get() {
            return Ok(logits);
        }
        let test = &self.data.test;
        let x = test.values(0..test.len());
        let logits = logits::of_test_images(&self.network, &x, test.len())?;
        Ok(self.test_logits.get_or_init(|| logits))
    }

    /// How many classes there are.
    pub(crate) fn classes(&self) -> usize {
        self.file.card.class_names.len()
    }

    /// What attacks in L-infinity may change.
    pub(crate) fn budget(&self) -> Budget {
        let epsilon = self.arguments.epsilon;
        Budget::linf(epsilon.unwrap_or_else(|| default_epsilon(&self.data.test)))
    }

    /// One step on the cross-entropy of a network of these classes, all of the radius (JEAT eq. 14), a batch after the
    /// other; `advance` is told the images of each.
    pub(crate) fn fgsm(
        &self,
        network: &impl Classifier,
        x: &[f32],
        classes: &[usize],
        mut advance: impl FnMut(usize),
    ) -> Vec<f32> {
        let size = x.len() / classes.len();
        let batches = x.chunks(BATCH * size).zip(classes.chunks(BATCH));
        let attacked = batches.flat_map(|(x, classes)| {
            let objective = Conditional {
                classes: classes.to_vec(),
            };
            let attack = Attack::fgsm(self.budget(), &objective);
            let x_adv = attack.run(network, x, classes.len(), self.key("fgsm"));
            advance(classes.len());
            x_adv
        });
        attacked.collect()
    }

    /// How many test images those figures are of that take long.
    pub(crate) fn images(&self) -> usize {
        self.arguments.images.min(self.data.test.len())
    }

    /// The key of a part that has no older one.
    pub(crate) fn key(&self, part: &str) -> Key {
        Key::new(self.arguments.seed).stream(part)
    }
}
