//! How a run is set up: everything is drawn from its seed.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{
    CommandId, DerivationPath, KeyId, KeyName, Scheme, UnixMillis, standing::StateChange,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore as _, SeedableRng as _};

use super::{
    EPOCH_MS, FAULTS_US, World, ending::Ending, happenings::Happening, moving::Moving,
    restoring::Restoring,
};
use crate::{
    cheat::{Cheat, Trick},
    desk::Desk,
    faults::{Faults, below, pick},
    invariants::Invariants,
    machine::Machine,
    mutation::{Mutation, Needs},
    people::{COORDINATORS, People, coordinator_id},
    two_faced::TwoFaced,
};

/// The shape of a run.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) nodes: usize,
    pub(crate) threshold: u16,
    pub(crate) coordinators: usize,
    pub(crate) signatures: u64,
    pub(crate) scheme: Scheme,
    pub(crate) mutation: Option<Mutation>,
    /// What node 0 does, and how often.
    pub(crate) cheat: Option<(Trick, u32)>,
    /// It does so in no ceremony but a resharing.
    pub(crate) only_reshares: bool,
    /// One name is given to two keys of disjoint committees, by a coordinator with two faces.
    pub(crate) twice: bool,
    /// The key is suspended and resumed in between.
    pub(crate) states: bool,
    /// How many nodes hold no share of the key at first, and may take the place of others.
    pub(crate) spares: usize,
    /// How often the key's shares are dealt again.
    pub(crate) reshares: u64,
    /// A second key is retired, and its end is ordered.
    pub(crate) ending: Option<Ending>,
    /// Backups of a node are made, and restored.
    pub(crate) restoring: Option<Restoring>,
    /// The roster is changed.
    pub(crate) moving: Option<Moving>,
}

impl Shape {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let nodes = 2 + pick(rng, 4);
        let threshold = 2 + u16::try_from(pick(rng, nodes - 1)).unwrap_or(0);
        // A cheat may hold a key up for ever where n < 2t-1.
        let room = nodes + 1 >= 2 * usize::from(threshold);
        let times = 1 + u32::try_from(below(rng, 3)).unwrap_or(0);
        let scheme = Scheme::ALL[pick(rng, Scheme::ALL.len())];
        let tricks: Vec<Trick> = Trick::ALL
            .into_iter()
            .filter(|trick| !trick.is_of_ecdsa() || !scheme.is_frost())
            .collect();
        let trick = tricks[pick(rng, tricks.len())];
        let cheats = rng.next_u32().is_multiple_of(2);
        let twice = nodes >= 4 && rng.next_u32().is_multiple_of(3);
        let coordinators = 1 + pick(rng, COORDINATORS);
        let signatures = 4 + below(rng, 12);
        let cheat = (cheats && room && nodes > 2 && !twice).then_some((trick, times));
        // Where a disk is lost, the others keep every key.
        let loses = cheat.is_none() && !twice && nodes > 2 && !rng.next_u32().is_multiple_of(3);
        let most = u16::try_from(nodes).unwrap_or(u16::MAX) - u16::from(loses);
        let threshold = threshold.min(most);
        let restoring = loses.then(|| Restoring::draw(rng, nodes));
        let reshares = if twice { 0 } else { below(rng, 4) };
        // The others are enough for the key, whatever goes wrong.
        let others = u16::try_from(nodes).unwrap_or(u16::MAX) - 1;
        let enough = if cheat.is_some() {
            others >= 3 && others + 1 >= 2 * threshold
        } else {
            others >= threshold + u16::from(loses)
        };
        let spares = usize::from(enough && reshares > 0 && rng.next_u32().is_multiple_of(2));
        let moves = cheat.is_none() && !twice && nodes > 2 && rng.next_u32().is_multiple_of(2);
        Self {
            nodes,
            threshold,
            coordinators: if twice { COORDINATORS } else { coordinators },
            signatures,
            scheme,
            mutation: None,
            cheat,
            only_reshares: false,
            twice,
            states: signatures.is_multiple_of(2) && !twice,
            spares,
            reshares,
            restoring,
            moving: moves.then(|| Moving::draw(rng, nodes, restoring.map(Restoring::node))),
            ending: (!twice && rng.next_u32().is_multiple_of(2)).then(|| Ending::draw(rng)),
        }
    }
}

impl World {
    /// Sets a run up from its seed, with its weather drawn from the seed as well.
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let faults = Faults::draw(&mut rng);
        let shape = Shape::draw(&mut rng);
        Self::build(seed, rng, faults, &shape)
    }

    /// A run with a mutated node, to show that the invariants find it.
    pub fn mutated(seed: u64, mutation: Mutation) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let faults = Faults {
            node_crashes: 4,
            ..Faults::draw(&mut rng)
        };
        let needs = mutation.needs();
        let twice = needs == Needs::TwoKeys;
        let reshares = needs == Needs::Reshares;
        let shape = Shape {
            nodes: if twice { 4 } else { 3 },
            threshold: 2,
            coordinators: if twice || reshares { COORDINATORS } else { 1 },
            signatures: 24,
            mutation: Some(mutation),
            cheat: (needs == Needs::SplitView).then_some((Trick::SplitView, 3)),
            twice,
            states: needs == Needs::States,
            spares: 0,
            reshares: if reshares { 4 } else { 0 },
            moving: None,
            restoring: (needs == Needs::Restoring).then(|| Restoring::of(0)),
            ending: (needs == Needs::Ending).then(|| Ending::draw(&mut rng)),
            ..Shape::draw(&mut rng)
        };
        Self::build(seed, rng, faults, &shape)
    }

    /// A run of 2-of-3 in which node 0 plays one trick, so many times.
    pub fn cheated(seed: u64, trick: Trick, times: u32) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut shape = Shape {
            nodes: 3,
            threshold: 2,
            coordinators: 1,
            cheat: Some((trick, times)),
            twice: false,
            states: false,
            spares: 0,
            reshares: 0,
            ending: None,
            restoring: None,
            moving: None,
            ..Shape::draw(&mut rng)
        };
        if trick.is_of_ecdsa() {
            shape.scheme = Scheme::EcdsaSecp256k1;
        }
        Self::build(seed, rng, Faults::NONE, &shape)
    }

    /// A calm run of 2-of-3 that is reshared again and again, in which node 0 plays one trick so many
    /// times, in resharings only.
    pub fn cheated_in_reshares(
        seed: u64,
        trick: Trick,
        times: u32,
        mutation: Option<Mutation>,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let shape = Shape {
            nodes: 3,
            threshold: 2,
            coordinators: 1,
            mutation,
            cheat: Some((trick, times)),
            only_reshares: true,
            twice: false,
            states: false,
            spares: 0,
            reshares: 4,
            ending: None,
            restoring: None,
            moving: None,
            ..Shape::draw(&mut rng)
        };
        Self::build(seed, rng, Faults::NONE, &shape)
    }

    pub(crate) fn build(seed: u64, mut rng: ChaCha8Rng, faults: Faults, shape: &Shape) -> Self {
        let later = shape.moving.map_or(0, Moving::newcomers);
        let people = People::draw(&mut rng, shape.nodes, later);
        let mutation_at = |at: usize| {
            shape
                .mutation
                .filter(|mutation| at == 0 || mutation.is_of_all())
        };
        let mut machines: Vec<Machine> = (0..shape.nodes)
            .map(|at| {
                Machine::new(
                    &people,
                    (at, at),
                    seed,
                    mutation_at(at),
                    UnixMillis(EPOCH_MS),
                )
            })
            .collect();
        let cheat = shape
            .cheat
            .map(|(trick, times)| Cheat::new(&people, 0, trick, times, seed))
            .map(|cheat| cheat.only_in_reshares(shape.only_reshares));
        if let Some(cheat) = &cheat {
            machines[cheat.node].cheats(cheat.shares(), cheat.engine());
        }
        let mutated = shape.mutation.filter(|mutation| !mutation.is_counted());
        let is_guilty = cheat.is_some() || mutated.is_some();
        let guilty = is_guilty.then(|| people.node_id(0));
        let mut world = Self {
            seed,
            rng,
            now_us: 0,
            order: 0,
            queue: BTreeMap::new(),
            faults,
            desks: (0..shape.coordinators)
                .map(|at| Desk::new(coordinator_id(at)))
                .collect(),
            people,
            machines,
            cheat,
            two_faced: shape.twice.then(|| TwoFaced::new(shape.nodes)),
            operations: Vec::new(),
            last: 0,
            ended: None,
            keeper: None,
            resumed: 0,
            moves: None,
            first_epochs: BTreeMap::new(),
            invariants: Invariants::new(guilty.into_iter().collect::<BTreeSet<_>>()),
            recording: None,
            trace: Vec::new(),
        };
        world.plan(shape);
        world
    }

    /// Keeps everything that passes between nodes and coordinators from here on.
    #[cfg(test)]
    pub(crate) fn record(&mut self) {
        self.recording = Some(crate::recording::Recording::default());
    }

    /// Puts the whole run's workload and crashes into the queue.
    fn plan(&mut self, shape: &Shape) {
        for desk in 0..self.desks.len() {
            self.at(0, Happening::StartDesk { desk });
        }
        for node in 0..self.machines.len() {
            self.at(0, Happening::StartNode { node });
        }
        let name: KeyName = self.people.key_name();
        let created = UnixMillis(EPOCH_MS);
        let keys = self.plan_keys(shape, &name, created);
        if let Some((key_id, _)) = keys.first().filter(|_| shape.states) {
            self.plan_states(&name, *key_id, created);
        }
        for number in 0..=shape.signatures {
            let id = self.id();
            let when = 300_000 + below(&mut self.rng, 8_000_000);
            // The last one waits until the faults are over.
            let is_last = number == shape.signatures;
            let created = EPOCH_MS + if is_last { FAULTS_US } else { when } / 1_000;
            let created = UnixMillis(created);
            let message = format!("message {number}").into_bytes();
            // Every other signature is by a child of the key (P26).
            let path = if number.is_multiple_of(2) {
                DerivationPath::ROOT
            } else {
                let index = u32::try_from(number).unwrap_or(0);
                DerivationPath::new(vec![0, index]).unwrap_or_default()
            };
            let (key_id, desk) = keys[usize::try_from(number / 2).unwrap_or(0) % keys.len()];
            let sign = self.people.client().sign(
                id,
                created,
                (name.clone(), key_id),
                shape.scheme,
                message,
                path,
            );
            self.operations.push(sign.through(desk));
            let operation = self.operations.len() - 1;
            if !is_last {
                self.at(when, Happening::Submit { operation });
            }
        }
        self.last = self.operations.len() - 1;
        if let Some(moving) = shape.moving {
            self.plan_moving(moving);
        }
        if let Some(restoring) = shape.restoring {
            self.plan_restoring(restoring);
        }
        if let Some(ending) = shape.ending {
            self.plan_old_key(shape, ending, created);
        }
        for _ in 0..shape.reshares {
            let when = 400_000 + below(&mut self.rng, 7_000_000);
            let key = name.clone();
            self.at(when, Happening::Reshare { key });
        }
        for _ in 0..self.faults.node_crashes {
            let node = pick(&mut self.rng, self.machines.len());
            let when = 30_000 + below(&mut self.rng, 8_000_000);
            self.at(when, Happening::CrashNode { node });
        }
        for _ in 0..self.faults.coordinator_crashes {
            let desk = pick(&mut self.rng, self.desks.len());
            let when = 30_000 + below(&mut self.rng, 8_000_000);
            self.at(when, Happening::CrashDesk { desk });
        }
    }

    /// Puts the creations into the queue; answers with the keys and the coordinator that shows each.
    fn plan_keys(
        &mut self,
        shape: &Shape,
        name: &KeyName,
        created: UnixMillis,
    ) -> Vec<(KeyId, Option<usize>)> {
        let committees = match &self.two_faced {
            Some(coordinator) => {
                let [first, second] = coordinator.committees().clone();
                vec![(first, Some(0)), (second, Some(1))]
            }
            None => vec![((0..shape.nodes - shape.spares).collect(), None)],
        };
        let mut keys = Vec::new();
        for (nodes, desk) in committees {
            let id = self.id();
            let nodes: Vec<_> = nodes.iter().map(|at| self.people.node_id(*at)).collect();
            let most = u16::try_from(nodes.len()).unwrap_or(u16::MAX);
            let create = self.people.quorum().create(
                id,
                created,
                name.clone(),
                shape.scheme,
                shape.threshold.min(most),
                nodes,
            );
            keys.push((create.key_id, desk));
            let operation = self.operations.len();
            self.operations.push(create.through(desk));
            self.at(20_000, Happening::Submit { operation });
        }
        keys
    }

    /// A second key, of a committee of its own, which is used, reshared and brought to its end.
    fn plan_old_key(&mut self, shape: &Shape, ending: Ending, created: UnixMillis) {
        let name = self.people.old_name();
        let mut nodes: Vec<_> = (0..shape.nodes).map(|at| self.people.node_id(at)).collect();
        // Whoever breaks rules may hold a key of fewer nodes up for ever.
        let least = match shape.cheat {
            Some(_) => shape.nodes,
            None if self.loses_disks() => usize::from(shape.threshold) + 1,
            None => usize::from(shape.threshold),
        };
        while nodes.len() > least && self.rng.next_u32().is_multiple_of(3) {
            let at = pick(&mut self.rng, nodes.len());
            nodes.remove(at);
        }
        let scheme = Scheme::ALL[pick(&mut self.rng, Scheme::ALL.len())];
        let id = self.id();
        let create =
            self.people
                .quorum()
                .create(id, created, name.clone(), scheme, shape.threshold, nodes);
        let key = (name.clone(), create.key_id);
        let operation = self.operations.len();
        self.operations.push(create);
        self.at(30_000, Happening::Submit { operation });
        for number in 0..3 + below(&mut self.rng, 5) {
            let id = self.id();
            let message = format!("old message {number}").into_bytes();
            let path = DerivationPath::ROOT;
            let when = 300_000 + below(&mut self.rng, 8_000_000);
            let created = UnixMillis(EPOCH_MS + when / 1_000);
            let sign = self
                .people
                .client()
                .sign(id, created, key.clone(), scheme, message, path);
            let operation = self.operations.len();
            self.operations.push(sign);
            self.at(when, Happening::Submit { operation });
        }
        for _ in 0..below(&mut self.rng, 3) {
            let when = 400_000 + below(&mut self.rng, 5_000_000);
            let key = name.clone();
            self.at(when, Happening::Reshare { key });
        }
        self.plan_ending(ending, key);
    }

    /// Has the key suspended and resumed while it signs; which comes first is a matter of delays.
    fn plan_states(&mut self, name: &KeyName, key_id: KeyId, created: UnixMillis) {
        for (sequence, change) in [(1, StateChange::Suspend), (2, StateChange::Resume)] {
            let id = self.id();
            let operation = self.people.quorum().set_state(
                id,
                created,
                (name.clone(), key_id),
                sequence,
                change,
            );
            self.operations.push(operation);
            let when = 500_000 + sequence * below(&mut self.rng, 4_000_000);
            let operation = self.operations.len() - 1;
            self.at(when, Happening::Submit { operation });
        }
    }

    pub(super) fn id(&mut self) -> CommandId {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        CommandId(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}
