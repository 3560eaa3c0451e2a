//! The energy around a picture: the settings.

use basin_protocol::{EnergyKind, Model, Origin, Plan};

use super::{
    Activity, Pairs,
    dream::{ClassChoice, Dream, StartChoice},
    number,
    picture_choice::{self, Picture, SAMPLES},
    seed,
};

/// Which plane is looked at, and where a chain starts in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Landscape {
    pub picture: Picture,
    /// Through two more samples, rather than in random directions.
    pub through: Option<[usize; 2]>,
    pub seed: u32,
    /// From the picture to an edge, in L2, of a plane of random directions.
    pub reach: u32,
    /// E(x, y) of this class, or E(x).
    pub class: Option<usize>,
    /// Where the chain starts, in [`NOTCHES`] of the way to an edge, to the right and up.
    pub from: [i32; 2],
}

/// Places from the centre to an edge.
pub const NOTCHES: i32 = 16;

/// The largest reach.
pub const LAST_REACH: u32 = 24;

/// What stands beside the first picture in a plane of three.
pub const OTHERS: [usize; 2] = [7, 0];

impl Default for Landscape {
    fn default() -> Self {
        Self {
            picture: Picture::Sample(1),
            through: None,
            seed: 1,
            reach: 8,
            class: None,
            from: [12, 10],
        }
    }
}

impl Landscape {
    /// The same place along the axes of the plane, from −1 to 1.
    pub fn start(&self) -> [f32; 2] {
        self.from.map(|at| at as f32 / NOTCHES as f32)
    }

    /// Which energy is shown, of which class.
    pub fn energy(&self, model: &Model) -> (EnergyKind, usize) {
        let last = model.class_names.len() - 1;
        match self.class {
            Some(class) => (EnergyKind::Joint, class.min(last)),
            None => (EnergyKind::Marginal, 0),
        }
    }
}

impl Activity for Landscape {
    fn plan(&self, model: &Model) -> Plan {
        let (energy, class) = self.energy(model);
        let dream = Dream {
            class: ClassChoice::One(class),
            seed: self.seed,
            energy: Some(energy),
            start: Some(StartChoice::Image),
            ..Dream::default()
        };
        Plan {
            origin: Origin::Image { noise: 0.0 },
            ..dream.plan(model)
        }
    }

    fn write(&self, _: Option<&Model>, pairs: &mut Pairs) {
        pairs.push(("picture", self.picture.name()));
        pairs.push(("seed", self.seed.to_string()));
        match self.through {
            Some([second, third]) => pairs.push(("through", format!("{second},{third}"))),
            None => pairs.push(("reach", self.reach.to_string())),
        }
        let class = self.class.map_or("any".into(), |class| class.to_string());
        pairs.push(("class", class));
        let [across, up] = self.from;
        pairs.push(("from", format!("{across},{up}")));
    }

    fn read(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let pair = || value.split_once(',').unwrap_or((value, ""));
        match name {
            "picture" => self.picture = picture_choice::read(value)?,
            "seed" => self.seed = seed(value)?,
            "reach" => self.reach = number(value, 1..=LAST_REACH, "1 to 24")?,
            "through" => {
                let sample = |value| number(value, 0..=SAMPLES - 1, "two samples, as 7,0");
                self.through = Some([sample(pair().0)?, sample(pair().1)?]);
            }
            "class" if value == "any" => self.class = None,
            "class" => self.class = Some(number(value, 0..=999, "a class number or any")?),
            "from" => {
                let notch = |value| number(value, -NOTCHES..=NOTCHES, "two of −16 to 16, as 12,-3");
                self.from = [notch(pair().0)?, notch(pair().1)?];
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}
