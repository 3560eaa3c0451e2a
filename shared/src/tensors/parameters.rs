//! What the plain types are as Burn's tensors. Everything that needs Burn is behind the feature
//! `tensors`, so that the page's engines are built without it.

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::{Device, Tensor, TensorData},
};

use crate::{
    arrays::{Array, Weights},
    file::container::ModelFile,
    key::Key,
    models::{Architecture, Initialization},
    tensors::Network,
};

impl Array {
    /// The same as a tensor's data.
    pub fn to_data(&self) -> TensorData {
        TensorData::new(self.values.clone(), self.shape.clone())
    }
}

impl From<TensorData> for Array {
    fn from(data: TensorData) -> Self {
        Self {
            shape: data.shape().to_vec(),
            values: data.iter::<f32>().collect(),
        }
    }
}

impl ModelFile {
    /// The network, in evaluation mode, on a device without autodiff.
    pub fn model(&self, device: &Device) -> Network {
        network(&self.card.architecture, self.weights(), device)
    }
}

/// A network with these weights, by the names of a model file.
///
/// # Panics
/// As [`load`].
pub fn network(architecture: &Architecture, weights: &Weights, device: &Device) -> Network {
    let untrained = Initialization {
        gain: 0.0,
        residual_scale: 0.0,
    };
    load(architecture.init(untrained, Key::new(0), device), weights)
}

/// Where a visitor is, in the names of PyTorch's state dictionaries. Which architecture an enum
/// holds is no part of them, nor is the list of a network that is nothing else.
#[derive(Default)]
pub struct Path(Vec<String>);

impl Path {
    /// Into a module of this name; `container` as Burn's visitors say it.
    pub fn enter(&mut self, name: &str, container: &str) {
        if !is_nameless(container) {
            self.0.push(name.into());
        }
    }

    /// Out of it.
    pub fn exit(&mut self, container: &str) {
        if !is_nameless(container) {
            self.0.pop();
        }
    }

    /// The name of the parameter that is there.
    pub fn name(&self) -> String {
        self.0.join(".")
    }
}

/// What Burn's derived visitors say of an enum, and of the field of [`super::Sequential`].
fn is_nameless(container: &str) -> bool {
    container.starts_with("Enum:") || container == "Struct:Sequential"
}

/// Reads every parameter back to the host; native only, as it waits for the device.
pub fn collect(model: &impl Module) -> Weights {
    #[derive(Default)]
    struct Collect {
        path: Path,
        weights: Weights,
    }
    impl ModuleVisitor for Collect {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, container: &str) {
            self.path.exit(container);
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let tensor = param.val();
            let array = Array {
                shape: tensor.dims().to_vec(),
                values: tensor.into_data().iter::<f32>().collect(),
            };
            self.weights.insert(self.path.name(), array);
        }
    }
    let mut visitor = Collect::default();
    model.visit(&mut visitor);
    visitor.weights
}

/// Replaces every parameter of `model` by the one of its name.
///
/// Parameters are numbered in visiting order on the way, so that gradients of one network fit another.
///
/// # Panics
/// If a name is missing or a shape differs: whoever reads a file checks that before.
pub fn load<M: Module>(model: M, weights: &Weights) -> M {
    struct Load<'a> {
        path: Path,
        count: u64,
        weights: &'a Weights,
    }
    impl ModuleMapper for Load<'_> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, container: &str) {
            self.path.exit(container);
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let name = self.path.name();
            let array = self
                .weights
                .get(&name)
                .unwrap_or_else(|| panic!("no tensor `{name}`"));
            let (_, old, mapper) = param.consume();
            assert_eq!(old.dims().to_vec(), array.shape, "shape of `{name}`");
            self.count += 1;
            let tracked = old.is_require_grad();
            let value = Tensor::from_data(array.to_data(), &old.device()).set_require_grad(tracked);
            Param::from_mapped_value(ParamId::from(self.count), value, mapper)
        }
    }
    model.map(&mut Load {
        path: Path::default(),
        count: 0,
        weights,
    })
}
