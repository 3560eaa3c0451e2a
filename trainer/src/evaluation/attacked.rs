//! Images under attacks, one after the other: each is made on those that withstood the ones before it. What is known so
//! far can be kept in a file, from which a run that was killed goes on, and others can check it.

use std::{
    collections::HashMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use basin_shared::{
    Classifier, Key,
    attacks::{Budget, Event, NamedAttack, Norm, Subject, named, pursue},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use super::{accuracy::BATCH, logits};
use crate::{atomic_file::write_atomically, data::Images, tell::Countdown};

/// The header's key.
const SETTINGS: &str = "basin.attacks";
/// How often what is known is kept.
const KEPT_EVERY: Duration = Duration::from_secs(60);
/// What an image may spend of its budget: the sum of an image and a change is rounded.
const SPENT: f32 = 1.0 + 1e-4;

/// What decides what attacks find.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// SHA-256 of the model's weights.
    pub model: String,
    pub data_set: String,
    /// How many test images, from the first on.
    pub images: usize,
    pub budget: Budget,
    pub attacks: Vec<NamedAttack>,
    pub seed: u64,
}

/// Images under attack.
#[derive(Debug)]
pub(crate) struct Attacked {
    pub settings: Settings,
    /// Channels, height and width of an image.
    pub shape: [usize; 3],
    pub x: Vec<f32>,
    pub labels: Vec<usize>,
    /// `[images, classes]`
    pub logits: Vec<f32>,
    pub classes: usize,
    /// The images as attacks have left them; those that withstood all as they were.
    pub x_adv: Vec<f32>,
    /// How many attacks each image has gone through.
    through: Vec<usize>,
    /// The place of the attack that fooled the model; that of the clean images is [`CLEAN`].
    fooled_by: Vec<Option<i32>>,
    /// How far away the image of another class is that an attack found, within the budget or not.
    pub distances: Vec<Option<f32>>,
}

/// What stands for no attack where the model errs without one.
const CLEAN: i32 = -1;
/// What stands for an image that withstood.
const NONE: i32 = -2;

impl Attacked {
    /// The first of some images, as the model takes them.
    ///
    /// # Errors
    /// If the logits of an image are no numbers.
    pub(crate) fn new(
        model: &impl Classifier,
        images: &Images,
        settings: Settings,
    ) -> Result<Self> {
        let shape = images.shape();
        let x = images.values(0..settings.images);
        let logits = logits::of_test_images(model, &x, settings.images)?;
        let classes = logits.len() / settings.images;
        let labels = images.classes(0..settings.images);
        let right = logits.chunks_exact(classes).zip(&labels);
        let fooled_by = right.map(|(f, &label)| (named(f) != label).then_some(CLEAN));
        Ok(Self {
            shape,
            x_adv: x.clone(),
            x,
            through: vec![0; settings.images],
            fooled_by: fooled_by.collect(),
            distances: vec![None; settings.images],
            labels,
            logits,
            classes,
            settings,
        })
    }

    /// Those that the model still names rightly.
    pub(crate) fn survivors(&self) -> Vec<usize> {
        let fooled = self.fooled_by.iter().enumerate();
        fooled
            .filter_map(|(i, by)| by.is_none().then_some(i))
            .collect()
    }

    /// Those that an attack fooled the model with.
    pub(crate) fn fooled(&self) -> Vec<usize> {
        let fooled = self.fooled_by.iter().enumerate();
        let by_attack = |by: &Option<i32>| by.is_some_and(|by| by != CLEAN);
        fooled
            .filter_map(|(i, by)| by_attack(by).then_some(i))
            .collect()
    }

    /// The share of images that withstood the attacks before this place.
    pub(crate) fn accuracy_before(&self, place: usize) -> f64 {
        let withstood = |by: &&Option<i32>| by.is_none_or(|by| by >= place as i32);
        self.fooled_by.iter().filter(withstood).count() as f64 / self.fooled_by.len() as f64
    }

    /// The pixels of an image.
    pub(crate) fn image<'a>(&self, x: &'a [f32], i: usize) -> &'a [f32] {
        let pixels: usize = self.shape.iter().product();
        &x[i * pixels..][..pixels]
    }

    fn subject(&self, i: usize) -> Subject {
        Subject {
            x: self.image(&self.x, i).to_vec(),
            shape: self.shape,
            class: self.labels[i],
            logits: self.logits[i * self.classes..][..self.classes].to_vec(),
        }
    }

    /// Makes the attack of this place on those that are left, and keeps what is known in `state` meanwhile.
    pub(crate) fn attack(
        &mut self,
        model: &impl Classifier,
        place: usize,
        state: Option<&Path>,
    ) -> Result<()> {
        let attack = self.settings.attacks[place];
        let (budget, classes) = (self.settings.budget, self.classes);
        let mut left = self.survivors();
        left.retain(|&i| self.through[i] <= place);
        // Each image has its own random numbers, whichever are attacked beside it.
        let key = Key::new(self.settings.seed).fold_in(place as u64);
        let most = attack.answers(classes);
        let mut countdown = Countdown::of(attack.name.text(), most * left.len());
        let subjects: Vec<Subject> = left.iter().map(|&i| self.subject(i)).collect();
        let pursuits = left.iter().zip(&subjects);
        let pursuits = pursuits.map(|(&i, s)| attack.pursue(budget, s, key.fold_in(i as u64)));
        let mut kept = Instant::now();
        let (mut survivors, mut failed) = (self.survivors().len(), None);
        pursue(model, BATCH, pursuits, |event| match event {
            Event::Answered(images) => countdown.advance(images),
            Event::Ended {
                place: at,
                found,
                answers,
            } => {
                self.judge(model, left[at], place, found.x_adv);
                survivors -= usize::from(self.fooled_by[left[at]].is_some());
                countdown.rename(format!("{}, {survivors} withstand", attack.name.text()));
                countdown.advance(most.saturating_sub(answers));
                if let Some(path) = state
                    && kept.elapsed() >= KEPT_EVERY
                {
                    kept = Instant::now();
                    failed = self.write(path).err().or(failed.take());
                }
            }
        });
        if let Some(path) = state {
            self.write(path)?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// What an attack has found is looked at outside of it: what left the ball or the pixel range, or is of the same class
    /// when it is alone, fools nobody.
    fn judge(&mut self, model: &impl Classifier, i: usize, place: usize, x_adv: Vec<f32>) {
        self.through[i] = place + 1;
        let x = self.image(&self.x, i);
        let in_range = x_adv.iter().all(|x| (0.0..=1.0).contains(x));
        let budget = self.settings.budget;
        if !in_range || named(&model.logits(&x_adv, 1)) == self.labels[i] {
            return;
        }
        self.distances[i] = Some(budget.norm.between(x, &x_adv));
        if budget.spent(&x_adv, x, 1)[0] <= SPENT {
            self.fooled_by[i] = Some(place as i32);
            let pixels = x_adv.len();
            self.x_adv[i * pixels..][..pixels].copy_from_slice(&x_adv);
        }
    }

    /// Writes what is known: `x_adv`, single precision, `[images, channels, height, width]`; `y`; the attacks that each
    /// image has gone through; and the place of the one that fooled the model, −1 where none was needed and −2 where none
    /// did. `distance` is how far the other class is, NaN where none was found.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let images = self.settings.images;
        let [channels, height, width] = self.shape;
        let f32s = |x: &[f32]| -> Vec<u8> { x.iter().flat_map(|x| x.to_le_bytes()).collect() };
        let i32s = |n: &mut dyn Iterator<Item = i32>| -> Vec<u8> {
            n.flat_map(i32::to_le_bytes).collect()
        };
        let distances: Vec<f32> = self
            .distances
            .iter()
            .map(|d| d.unwrap_or(f32::NAN))
            .collect();
        let parts = [
            ("x_adv", Dtype::F32, f32s(&self.x_adv)),
            ("distance", Dtype::F32, f32s(&distances)),
            (
                "y",
                Dtype::I32,
                i32s(&mut self.labels.iter().map(|&y| y as i32)),
            ),
            (
                "through",
                Dtype::I32,
                i32s(&mut self.through.iter().map(|&n| n as i32)),
            ),
            (
                "fooled_by",
                Dtype::I32,
                i32s(&mut self.fooled_by.iter().map(|by| by.unwrap_or(NONE))),
            ),
        ];
        let views = parts.iter().map(|(name, dtype, bytes)| {
            let shape = match *name {
                "x_adv" => vec![images, channels, height, width],
                _ => vec![images],
            };
            (
                *name,
                TensorView::new(*dtype, shape, bytes).expect("as many numbers as the shape says"),
            )
        });
        let settings = serde_json::to_string(&self.settings).expect("plain data");
        let header = HashMap::from([(SETTINGS.to_owned(), settings)]);
        let bytes = safetensors::serialize(views, Some(header)).expect("views are valid");
        Ok(write_atomically(path, &bytes)?)
    }

    /// Goes on where a file says that a run of the same settings was.
    ///
    /// # Errors
    /// If the file cannot be read, or is of other settings.
    pub(crate) fn restore(&mut self, path: &Path) -> Result<()> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        self.restore_from(&bytes)
            .with_context(|| path.display().to_string())
    }

    fn restore_from(&mut self, bytes: &[u8]) -> Result<()> {
        let (_, header) =
            SafeTensors::read_metadata(bytes).context("expected a state of attacks")?;
        let header = header
            .metadata()
            .as_ref()
            .and_then(|header| header.get(SETTINGS));
        let header = header.context("expected a state of attacks")?;
        let settings: Settings = serde_json::from_str(header).context("its settings")?;
        if settings != self.settings {
            bail!(
                "it is the state of another run, {}; give this run another file, or the settings of that one",
                settings.told()
            );
        }
        let file = SafeTensors::deserialize(bytes).context("expected a state of attacks")?;
        let numbers = |name: &str, dtype, count: usize| -> Result<Vec<[u8; 4]>> {
            let tensor = file.tensor(name)?;
            let (numbers, rest) = tensor.data().as_chunks::<4>();
            ensure!(
                tensor.dtype() == dtype && numbers.len() == count && rest.is_empty(),
                "`{name}` has {} bytes of {:?}, expected {count} numbers",
                tensor.data().len(),
                tensor.dtype()
            );
            Ok(numbers.to_vec())
        };
        let f32s = |name, count| -> Result<Vec<f32>> {
            let numbers = numbers(name, Dtype::F32, count)?.into_iter();
            Ok(numbers.map(f32::from_le_bytes).collect())
        };
        let i32s = |name| -> Result<Vec<i32>> {
            let numbers = numbers(name, Dtype::I32, self.settings.images)?.into_iter();
            Ok(numbers.map(i32::from_le_bytes).collect())
        };
        let (through, fooled_by) = (i32s("through")?, i32s("fooled_by")?);
        self.x_adv = f32s("x_adv", self.x.len())?;
        let distances = f32s("distance", self.settings.images)?.into_iter();
        self.distances = distances.map(|d| (!d.is_nan()).then_some(d)).collect();
        self.through = through.into_iter().map(|n| n.max(0) as usize).collect();
        let fooled_by = fooled_by.into_iter();
        self.fooled_by = fooled_by.map(|by| (by != NONE).then_some(by)).collect();
        Ok(())
    }
}

impl Settings {
    /// In words.
    fn told(&self) -> String {
        let names: Vec<&str> = self
            .attacks
            .iter()
            .map(|attack| attack.name.text())
            .collect();
        format!(
            "{} on {} images of {} in {}, epsilon {}, seed {}, weights {}",
            names.join(", "),
            self.images,
            self.data_set,
            self.budget.norm.text(),
            self.budget.epsilon,
            self.seed,
            self.model.get(..8).unwrap_or(&self.model)
        )
    }
}

/// The usual radius of images like these, where there is one.
pub(crate) fn usual_epsilon(norm: Norm, images: &Images) -> Option<f32> {
    match (norm, images.shape()[0]) {
        (Norm::Linf, _) => Some(super::robustness::default_epsilon(images)),
        (Norm::L2, 3) => Some(0.5),
        (Norm::L2, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use basin_shared::{attacks::AttackName, tensors::Frozen};
    use burn::tensor::Device;

    use super::*;
    use crate::methods::fixture;

    fn settings() -> Settings {
        use AttackName::{ApgdCe, Fab, Square};
        Settings {
            model: "0123456789".into(),
            data_set: "made-up".into(),
            images: 8,
            budget: Budget::linf(0.03),
            attacks: [Square, ApgdCe, Fab]
                .map(|name| NamedAttack {
                    steps: 12,
                    ..name.once()
                })
                .into(),
            seed: 5,
        }
    }

    fn network() -> Frozen {
        fixture::network(&Device::flex()).frozen()
    }

    /// The made-up images with the classes that the network names, so that there is something to attack.
    fn images(network: &Frozen) -> Images {
        let made = fixture::images();
        let pixels: Vec<u8> = (0..made.len())
            .flat_map(|i| made.pixels(i))
            .copied()
            .collect();
        let x: Vec<f32> = pixels.iter().map(|&byte| f32::from(byte) / 255.0).collect();
        let logits = network.logits(&x, made.len());
        let classes = logits.chunks_exact(3).map(|f| named(f) as u8);
        Images::new(pixels, classes.collect(), made.shape())
    }

    fn finish(attacked: &mut Attacked, network: &Frozen, state: Option<&Path>) {
        for place in 0..3 {
            attacked.attack(network, place, state).unwrap();
        }
    }

    /// A kill may come after any image of any attack.
    #[test]
    fn a_run_that_goes_on_from_a_file_ends_as_one_that_was_never_stopped() {
        let network = network();
        let images = images(&network);
        let begin = || Attacked::new(&network, &images, settings()).unwrap();
        let mut whole = begin();
        finish(&mut whole, &network, None);
        let fooled = whole.fooled().len();
        assert!(fooled > 0, "nothing is fooled");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        let mut stopped = begin();
        stopped.attack(&network, 0, None).unwrap();
        // What the second attack has done to half of the images by then.
        let mut further = begin();
        for place in 0..2 {
            further.attack(&network, place, None).unwrap();
        }
        let pixels = 64;
        for i in 0..4 {
            stopped.through[i] = further.through[i];
            stopped.fooled_by[i] = further.fooled_by[i];
            stopped.distances[i] = further.distances[i];
            let image = further.image(&further.x_adv, i).to_vec();
            stopped.x_adv[i * pixels..][..pixels].copy_from_slice(&image);
        }
        stopped.write(&path).unwrap();

        let mut resumed = begin();
        resumed.restore(&path).unwrap();
        assert_eq!(resumed.through, stopped.through);
        finish(&mut resumed, &network, Some(&path));
        assert_eq!(resumed.x_adv, whole.x_adv);
        assert_eq!(resumed.fooled_by, whole.fooled_by);
        assert_eq!(resumed.distances, whole.distances);
        // And the file says the same.
        let mut read = begin();
        read.restore(&path).unwrap();
        assert_eq!(read.fooled_by, whole.fooled_by);
        assert_eq!(read.survivors().len() + fooled, 8);
    }

    #[test]
    fn a_file_of_another_run_is_refused() {
        let network = network();
        let images = images(&network);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        let first = Attacked::new(&network, &images, settings()).unwrap();
        first.write(&path).unwrap();
        let mut other = settings();
        other.seed = 6;
        let mut other = Attacked::new(&network, &images, other).unwrap();
        let error = format!("{:#}", other.restore(&path).unwrap_err());
        assert!(
            error.contains("state of another run") && error.contains("seed 5"),
            "{error}"
        );
        for bytes in [&b"no safetensors"[..], &[]] {
            std::fs::write(&path, bytes).unwrap();
            let error = format!("{:#}", other.restore(&path).unwrap_err());
            assert!(error.contains("expected a state of attacks"), "{error}");
        }
    }
}
