//! What computes: Basin's own engine on the processor, or Burn's tensors on a GPU.

use basin_shared::{ModelFile, cpu, cpu::Evaluation, model_card::EnergyKind};

/// Where networks run.
pub enum Engine {
    /// The processor.
    Cpu,
    /// A device of Burn's.
    #[cfg(feature = "gpu")]
    Burn(burn::tensor::Device),
}

/// A network on an engine.
pub enum Network {
    /// Compiled for the processor.
    Cpu(Box<cpu::Engine>),
    /// On a device of Burn's.
    #[cfg(feature = "gpu")]
    Burn(gpu::Network),
}

impl Engine {
    /// The network of a file.
    pub fn network(&self, file: &ModelFile) -> Network {
        match self {
            Self::Cpu => Network::Cpu(Box::new(cpu::Engine::new(file.plan()))),
            #[cfg(feature = "gpu")]
            Self::Burn(device) => Network::Burn(gpu::Network::new(file, device)),
        }
    }
}

impl Network {
    /// Logits, and the gradient of each image's energy with respect to it. Reading numbers back from
    /// a GPU is awaited, as a browser cannot wait for it otherwise.
    ///
    /// # Shapes
    /// - `x`: `[batch, channels, size, size]`, `classes`: `[batch]`
    pub async fn evaluate(&self, x: &[f32], classes: &[usize], energy: EnergyKind) -> Evaluation {
        match self {
            Self::Cpu(engine) => engine.evaluate(x, classes, energy),
            #[cfg(feature = "gpu")]
            Self::Burn(network) => network.evaluate(x, classes, energy).await,
        }
    }
}

#[cfg(feature = "gpu")]
pub mod gpu {
    //! Burn's tensors.

    use basin_shared::{
        Classifier, ModelFile,
        cpu::Evaluation,
        gradient::value_and_gradient,
        model_card::{Architecture, EnergyKind},
        models::WideResNet,
    };
    use burn::tensor::{Device, Int, Tensor, TensorData};

    /// A network of tensors on a device.
    pub struct Network {
        model: WideResNet,
        device: Device,
        /// `[channels, size, size]`
        image: [usize; 3],
    }

    impl Network {
        pub(super) fn new(file: &ModelFile, device: &Device) -> Self {
            let Architecture::WideResnet(config) = &file.card.architecture;
            Self {
                model: file.model(device),
                device: device.clone(),
                image: [config.channels, config.size, config.size],
            }
        }

        pub(super) async fn evaluate(
            &self,
            x: &[f32],
            classes: &[usize],
            energy: EnergyKind,
        ) -> Evaluation {
            let batch = classes.len();
            let [channels, height, width] = self.image;
            let x = TensorData::new(x.to_vec(), [batch, channels, height, width]);
            let y: Vec<i32> = classes.iter().map(|&class| class as i32).collect();
            let y = Tensor::<1, Int>::from_data(TensorData::new(y, [batch]), &self.device);
            let energy = energy.of(y);
            let mut logits = None;
            let energy_of = |x| {
                let f = self.model.logits(x);
                logits = Some(f.clone().inner());
                energy.of_logits(f)
            };
            let (_, gradient) =
                value_and_gradient(energy_of, Tensor::<4>::from_data(x, &self.device));
            Evaluation {
                logits: read(logits.expect("the energy was evaluated")).await,
                gradient: read(gradient).await,
            }
        }
    }

    async fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        let data = tensor
            .into_data_async()
            .await
            .expect("the device gives its numbers back");
        data.try_to_vec().expect("numbers are single precision")
    }
}
