//! Beginning, running and holding the chain of the tab on screen.

use std::sync::Arc;

use basin_protocol::{Plan, Request, Sampler};
use leptos::prelude::*;

use super::{Lab, Rival};
use crate::{
    activities::{
        Activity, attack::Attack, dream::StartChoice, landscape::Landscape, picture_choice::Picture,
    },
    address::Tab,
    images::Shape,
    lab::{
        chain::{Chain, Frame, Phase},
        survey::{Plane, Surface},
    },
};

impl Lab {
    /// The chain of the tab on screen.
    pub fn chain(self) -> RwSignal<Chain> {
        match self.settings.with_untracked(|settings| settings.tab) {
            Tab::Dream | Tab::Models => self.dream,
            Tab::Denoise => self.denoise,
            Tab::Restore => self.restore,
            Tab::Attack => self.attack,
            Tab::Landscape => self.landscape,
        }
    }

    /// Begins the chain of the tab on screen from its start, and runs it.
    pub fn restart(self) {
        self.begin(Phase::Running);
    }

    /// Goes back to the start and stays there.
    pub fn reset(self) {
        self.begin(Phase::Paused);
    }

    pub(super) fn begin(self, phase: Phase) {
        let Some(in_use) = self.model.get_untracked() else {
            return;
        };
        let settings = self.settings.get_untracked();
        match settings.tab {
            Tab::Dream => {
                let plan = settings.dream.plan(&in_use.model);
                let from_image = settings.dream.start(&in_use.model) == StartChoice::Image;
                let given = match self.own_dream.get_untracked() {
                    Some(own) if from_image => own.repeat(plan.classes.len()).into(),
                    None if from_image => {
                        return self.tell(false, "Choose an image to start from first.");
                    }
                    _ => Arc::default(),
                };
                self.run(self.dream, plan, given, phase);
            }
            Tab::Denoise => {
                leptos::task::spawn_local(async move {
                    let Some(given) = self.picture(settings.denoise.picture, in_use.shape()).await
                    else {
                        return;
                    };
                    self.clean.set(Some(given.clone()));
                    let plan = settings.denoise.plan(&in_use.model);
                    let Some(guess) = settings.denoise.best_guess(&in_use.model) else {
                        self.guess.set(Chain::default());
                        return self.run(self.denoise, plan, given, phase);
                    };
                    // The chain waits for the guess, which is there after one step.
                    let id = self.next_id();
                    self.denoise.set(Chain::new(id, plan, given.clone(), phase));
                    self.run(self.guess, guess, given, Phase::Running);
                });
            }
            Tab::Attack => {
                leptos::task::spawn_local(async move {
                    let shape = in_use.shape();
                    let Some(given) = self.picture(settings.attack.picture, shape).await else {
                        return;
                    };
                    let plan = settings.attack.plan(&in_use.model);
                    self.expect_rival();
                    if let Rival::Ready(_) = self.rival.get_untracked() {
                        let (id, plan) = (self.next_id(), Attack::on_rival(&plan));
                        let rival = Chain::new(id, plan, given.clone(), phase);
                        self.rival_attack.set(rival);
                    }
                    self.run(self.attack, plan, given, phase);
                    // The rival's start is shown too.
                    let rests = |chain: &Chain| chain.phase == Phase::Paused;
                    if self.rival_attack.with_untracked(rests) {
                        self.advance(self.rival_attack);
                    }
                });
            }
            // A model is first seen at its dream.
            Tab::Models => {}
            Tab::Landscape => {
                leptos::task::spawn_local(async move {
                    let Some(plane) = self.plane(&settings.landscape, in_use.shape()).await else {
                        return;
                    };
                    self.expect_rival();
                    let given = plane.at(settings.landscape.start());
                    let known = |surface: &Surface| surface.plane.as_deref() == Some(&plane);
                    if !self.surface.with_untracked(known) {
                        let classes = in_use.model.class_names.len();
                        let surface = Surface::new(self.next_id(), plane, classes);
                        self.surface.set(surface);
                    }
                    let plan = settings.landscape.plan(&in_use.model);
                    self.run(self.landscape, plan, given.into(), phase);
                    self.survey();
                });
            }
            Tab::Restore => {
                leptos::task::spawn_local(async move {
                    let shape = in_use.shape();
                    let Some(given) = self.picture(settings.restore.picture, shape).await else {
                        return;
                    };
                    self.whole.set(Some(given.clone()));
                    if in_use.model.distances.is_none() {
                        return;
                    }
                    let plan = settings.restore.plan(&in_use.model);
                    let known = settings.restore.known(&in_use.model);
                    match known.observed([shape.channels, shape.size]) {
                        Ok(_) => self.run(self.restore, plan, given, phase),
                        Err(why) => self.tell(false, format!("Nothing to restore: {why}.")),
                    }
                });
            }
        }
    }

    /// The plane that is to be looked at.
    async fn plane(self, landscape: &Landscape, shape: Shape) -> Option<Plane> {
        let picture = self.picture(landscape.picture, shape).await?;
        let Some([second, third]) = landscape.through else {
            let reach = landscape.reach as f32;
            return Some(Plane::random(&picture, reach, landscape.seed));
        };
        let second = self.picture(Picture::Sample(second), shape).await?;
        let third = self.picture(Picture::Sample(third), shape).await?;
        let plane = Plane::through([&picture, &second, &third]);
        if plane.is_none() {
            self.tell(
                false,
                "A plane takes three different pictures: choose others.",
            );
        }
        plane
    }

    pub(super) fn run(self, chain: RwSignal<Chain>, plan: Plan, given: Arc<[f32]>, phase: Phase) {
        let id = self.next_id();
        chain.set(Chain::new(id, plan, given, phase));
        // At rest too, as the start itself is shown.
        self.advance(chain);
    }

    /// The chain that runs in turn with the one on screen, if any does.
    fn beside(self) -> Option<RwSignal<Chain>> {
        let tab = self.settings.with_untracked(|settings| settings.tab);
        (tab == Tab::Attack).then_some(self.rival_attack)
    }

    /// Runs the chain on screen, from where it is.
    pub fn play(self) {
        let chain = self.chain();
        if let Some(beside) = self.beside() {
            beside.update(|chain| {
                if chain.phase == Phase::Paused {
                    chain.phase = Phase::Running;
                }
            });
        }
        match chain.with_untracked(|chain| chain.phase) {
            Phase::Empty | Phase::Finished | Phase::RanAway => self.restart(),
            Phase::Paused => {
                chain.update(|chain| {
                    chain.phase = Phase::Running;
                    chain.scrubbed = None;
                });
                self.advance(chain);
            }
            Phase::Running => {}
        }
    }

    /// Holds the chain on screen.
    pub fn pause(self) {
        for chain in [self.chain()].into_iter().chain(self.beside()) {
            chain.update(|chain| {
                if chain.phase == Phase::Running {
                    chain.phase = Phase::Paused;
                }
            });
        }
    }

    /// Takes a single step.
    pub fn step(self) {
        let chain = self.chain();
        match chain.with_untracked(|chain| chain.phase) {
            Phase::Empty | Phase::RanAway => self.reset(),
            Phase::Finished | Phase::Running | Phase::Paused => {
                for chain in [chain].into_iter().chain(self.beside()) {
                    match chain.with_untracked(|chain| chain.phase) {
                        Phase::Empty | Phase::RanAway => continue,
                        Phase::Finished => chain.update(|chain| chain.goal += 1),
                        Phase::Running | Phase::Paused => chain.update(|chain| {
                            chain.phase = Phase::Paused;
                            chain.scrubbed = None;
                        }),
                    }
                    self.advance(chain);
                }
            }
        }
    }

    /// Another number of steps: the chain goes on to it, or begins again if it is past it.
    pub fn goal_changed(self) {
        let Some(in_use) = self.model.get_untracked() else {
            return;
        };
        let settings = self.settings.get_untracked();
        let plan = settings.activity().plan(&in_use.model);
        let chain = self.chain();
        // Its last steps by distance are others than its steps before them.
        let by_distance = matches!(plan.sampler, Sampler::ByDistance(_));
        if by_distance || chain.with_untracked(|chain| chain.step() > plan.steps as u64) {
            return self.restart();
        }
        chain.update(|chain| {
            chain.goal = plan.steps as u64;
            if chain.phase == Phase::Finished && chain.step() < chain.goal {
                chain.phase = Phase::Running;
            }
        });
        self.advance(chain);
    }

    /// Asks for the next frame of a chain, after having it begun where the worker holds another.
    pub(super) fn advance(self, chain: RwSignal<Chain>) {
        let id = chain.with_untracked(|chain| chain.id);
        self.bench.update_value(|bench| {
            let Some(engine) = bench.engine.as_ref().filter(|_| bench.ready) else {
                return;
            };
            if bench.begun != Some(id) {
                let (plan, given) = chain.with_untracked(Chain::resumption);
                engine.ask(&Request::Begin { chain: id, plan }, &given);
                bench.begun = Some(id);
                // A chain that was interrupted shows its last images again, then goes on.
                if chain.with_untracked(|chain| chain.newest.is_some()) {
                    engine.ask(&Request::Advance { chain: id, most: 1 }, &[]);
                }
            }
            // In slow motion each step is seen.
            let most = match self.speed() {
                Some(_) => 1,
                None => chain.with_untracked(Chain::most_steps),
            };
            engine.ask(&Request::Advance { chain: id, most }, &[]);
            bench.waited = Some(0);
            bench.turn += 1;
        });
    }

    /// Steps a second, in slow motion.
    fn speed(self) -> Option<u32> {
        self.settings.with_untracked(|settings| settings.speed)
    }

    /// Goes on to the next frame when it is due: no faster than the screen, nor than slow motion wants it, and not while
    /// the page is hidden; not at all where something else has asked for a frame meanwhile.
    fn when_due(self, go_on: impl Fn() + 'static) {
        let turn = move || self.bench.with_value(|bench| bench.turn);
        let before = turn();
        let next = move || {
            if turn() == before {
                go_on();
            }
        };
        let wait = self.speed().map_or(0, |speed| 1000 / u64::from(speed));
        let then = move || request_animation_frame(next);
        match wait {
            0 => then(),
            _ => set_timeout(then, std::time::Duration::from_millis(wait)),
        }
    }

    /// Goes on with what ran before the engine was interrupted.
    pub(super) fn go_on(self) {
        self.bench.update_value(|bench| bench.begun = None);
        let chain = self.chain();
        if chain.with_untracked(|chain| chain.phase == Phase::Running) {
            self.advance(chain);
        }
        self.survey();
    }

    pub(super) fn show(self, id: u32, step: u64, milliseconds: f64, mut numbers: Vec<f32>) {
        let chains = [
            self.dream,
            self.denoise,
            self.guess,
            self.restore,
            self.attack,
            self.rival_attack,
            self.landscape,
        ];
        let holds = |chain: &RwSignal<Chain>| chain.with_untracked(|chain| chain.id == id);
        let Some(chain) = chains.into_iter().find(holds) else {
            return;
        };
        let Some(in_use) = self.model.get_untracked() else {
            return;
        };
        let batch = chain.with_untracked(|chain| chain.plan.classes.len());
        let images = in_use.shape().len() * batch;
        let attacked = chain.with_untracked(|chain| chain.plan.adversary.is_some());
        let mut gradient = numbers.split_off(images);
        let mut logits = gradient.split_off(if attacked { images } else { 0 });
        if holds(&self.attack) && step == 0 && self.learns_truth(&logits) {
            return;
        }
        let last = logits.len() - in_use.model.class_names.len() * batch;
        let shown = logits.split_off(last);
        // Of an interrupted chain, this was only the reminder.
        let seen = chain.with_untracked(|c| c.newest.as_ref().map(|frame| frame.step));
        let frame = Frame {
            step,
            pixels: numbers.into(),
            gradient: gradient.into(),
            logits: shown.into(),
        };
        let outside = chain.with_untracked(|chain| chain.outside);
        chain.update(|chain| chain.receive(frame, &logits, milliseconds));
        if chain.with_untracked(|chain| chain.phase) == Phase::RanAway {
            self.tell(
                true,
                "The chain ran away: its numbers are too large to go on. Smaller steps keep it.",
            );
        } else if !outside && chain.with_untracked(|chain| chain.outside) {
            self.tell(
                false,
                "The images have left the range of pixels, as this model's sampler lets them; what lies outside \
                 is shown as black or white.",
            );
        }
        if seen == Some(step) {
            return self.expect_answer();
        }
        if holds(&self.guess) {
            let guessed = chain.with_untracked(|chain| chain.phase) != Phase::Running;
            return self.advance(if guessed { self.denoise } else { self.guess });
        }
        // The rival's turn comes when the model in use has had its own.
        let rivals = [self.attack, self.rival_attack];
        if rivals.iter().any(holds) {
            let goes_on = |chain: &RwSignal<Chain>| {
                chain.with_untracked(|chain| chain.id != 0 && chain.phase == Phase::Running)
            };
            let mut going: Vec<_> = rivals.into_iter().filter(goes_on).collect();
            // In slow motion they take turns.
            if self.speed().is_some() {
                going.sort_by_key(|chain| chain.with_untracked(|chain| chain.step()));
            }
            if let Some(next) = going.first().copied() {
                let id = next.with_untracked(|chain| chain.id);
                self.when_due(move || {
                    let on_screen = self.settings.with_untracked(|s| s.tab) == Tab::Attack;
                    // Another attack may have begun meanwhile, which asks for its frames itself.
                    let same = next.with_untracked(|chain| chain.id) == id;
                    if on_screen && same && goes_on(&next) {
                        self.advance(next);
                    }
                });
            }
            return;
        }
        let on_screen = self.chain().with_untracked(|on_screen| on_screen.id == id);
        if chain.with_untracked(|chain| chain.phase) == Phase::Running && on_screen {
            self.when_due(move || {
                let runs =
                    chain.with_untracked(|chain| chain.id == id && chain.phase == Phase::Running);
                if runs && self.chain().with_untracked(|on_screen| on_screen.id == id) {
                    self.advance(chain);
                }
            });
        }
    }
}
