//! `--device` -> a Burn device; the one file that knows which backends were compiled in.

use std::{fmt, str::FromStr};

use burn::tensor::Device;
#[cfg(feature = "flex")]
use sysinfo::{CpuRefreshKind, RefreshKind, System};

/// A device as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceChoice {
    /// CUDA, else wgpu, else the processor, whichever was compiled in and is there.
    Auto,
    /// The processor.
    Cpu,
    /// The CUDA device of this index.
    Cuda(usize),
    /// Vulkan, Metal or WebGPU.
    Wgpu,
}

/// Why a device cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeviceError {
    #[error("device `{0}` is not known; expected auto, cpu, cuda, cuda:INDEX or wgpu")]
    Unknown(String),
    #[error(
        "--device {device}: this `basin` was built without it; build with --features {feature}"
    )]
    NotBuilt {
        device: &'static str,
        feature: &'static str,
    },
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    #[error("--device {device}: {reason}")]
    NotThere {
        device: &'static str,
        reason: String,
    },
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown(text.into());
        match text.split_once(':') {
            None => match text {
                "auto" => Ok(Self::Auto),
                "cpu" => Ok(Self::Cpu),
                "cuda" => Ok(Self::Cuda(0)),
                "wgpu" => Ok(Self::Wgpu),
                _ => Err(unknown()),
            },
            Some(("cuda", index)) => index.parse().map(Self::Cuda).map_err(|_| unknown()),
            Some(_) => Err(unknown()),
        }
    }
}

/// As [`FromStr`] reads it.
impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Wgpu => f.write_str("wgpu"),
        }
    }
}

impl DeviceChoice {
    /// The device, and its name for people.
    ///
    /// # Errors
    /// A backend that was not compiled in, or that finds no device.
    pub(crate) fn resolve(self) -> Result<(Device, String), DeviceError> {
        match self {
            Self::Cpu => cpu(),
            Self::Cuda(index) => cuda(index),
            Self::Wgpu => wgpu(),
            Self::Auto => cuda(0).or_else(|_| wgpu()).or_else(|_| cpu()),
        }
    }
}

#[cfg(feature = "flex")]
fn cpu() -> Result<(Device, String), DeviceError> {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let mut name = format!("cpu, {threads} threads");
    let kind = CpuRefreshKind::nothing();
    let system = System::new_with_specifics(RefreshKind::nothing().with_cpu(kind));
    let brand = system.cpus().first().map_or("", |cpu| cpu.brand().trim());
    if !brand.is_empty() {
        name += &format!(" of {brand}");
    }
    Ok((Device::flex(), name))
}

/// Has compiled kernels kept in the platform's cache folder, so that the next run need not compile them.
///
/// A kernel is looked up by its name and what it was compiled for, not by its source, so each version of the
/// kernels has a folder of its own. Settings of a `cubecl.toml` are kept but for that. Without such a folder
/// kernels are compiled anew by each run, which is said once.
#[cfg(feature = "cubecl")]
fn keep_kernels() {
    use burn::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig, cache::CacheConfig};
    use sha2::{Digest, Sha256};

    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
        let mut version = Sha256::new_with_prefix(include_str!("../../Cargo.lock"));
        version.update(basin_shared::tensors::convolution::SOURCE_OF_KERNELS);
        let version = version.finalize();
        let version: String = version[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let folder = dirs::cache_dir().map(|cache| cache.join("basin/kernels").join(version));
        let made = match &folder {
            Some(folder) => private_folder(folder).map_err(|error| error.to_string()),
            None => Err("there is no cache folder on this platform".into()),
        };
        match (made, folder) {
            (Ok(()), Some(folder)) => {
                #[cfg(any(feature = "cuda", feature = "vulkan"))]
                {
                    config.compilation.cache = true;
                }
                config.environment.path = CacheConfig::Directory(folder);
            }
            (Err(fault), folder) => {
                let folder = folder.unwrap_or_default();
                let shown = folder.display();
                tell!("{shown}: {fault}; kernels are compiled anew by each run");
                config.environment.path = CacheConfig::Directory(std::env::temp_dir());
            }
            (Ok(()), None) => unreachable!("what is not there was not made"),
        }
        // Who has set one before, as a test might, is right.
        CubeClRuntimeConfig::try_set(config);
    });
}

/// Makes a folder, and those above it, that nobody else can write kernels into.
#[cfg(feature = "cubecl")]
fn private_folder(folder: &std::path::Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(folder)?.permissions().mode() & 0o777;
        if mode & 0o022 != 0 {
            let fault = format!("others can write there (mode {mode:o}, expected 700)");
            return Err(std::io::Error::other(fault));
        }
    }
    Ok(())
}

/// Where numbers of a file wait for the device that will ask for them.
pub(crate) fn host() -> Device {
    #[cfg(feature = "flex")]
    return Device::flex();
    #[cfg(not(feature = "flex"))]
    Device::default()
}

#[cfg(not(feature = "flex"))]
fn cpu() -> Result<(Device, String), DeviceError> {
    Err(DeviceError::NotBuilt {
        device: "cpu",
        feature: "flex",
    })
}

#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn probed(
    device: &'static str,
    needs: &'static str,
    open: impl FnOnce() -> Device + std::panic::UnwindSafe,
) -> Result<Device, DeviceError> {
    use std::sync::{Arc, Mutex, PoisonError};

    keep_kernels();
    // What is missing shows as a panic of the backend at first use: of a thread of its own perhaps, and
    // then of whoever waits for that one.
    let panics = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&panics);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let why = panic.payload_as_str().unwrap_or("unknown").to_owned();
        kept.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(why);
    }));
    let opened = std::panic::catch_unwind(|| {
        let device = open();
        let sum = burn::tensor::Tensor::<1>::ones([2], &device).sum();
        (sum.into_scalar::<f32>() == 2.0).then_some(device)
    });
    std::panic::set_hook(hook);
    let reason = match opened {
        Ok(Some(device)) => return Ok(device),
        Ok(None) => "the device computes 1 + 1 wrongly".into(),
        Err(_) => {
            let panics = panics.lock().unwrap_or_else(PoisonError::into_inner);
            let first = panics.first().map_or("unknown", String::as_str);
            format!("cannot be opened; it takes {needs} (the cause: {first})")
        }
    };
    Err(DeviceError::NotThere { device, reason })
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<(Device, String), DeviceError> {
    let needs = "an NVIDIA GPU of this index, its driver and the CUDA toolkit's NVRTC";
    let device = probed("cuda", needs, move || Device::cuda(index))?;
    Ok((device, format!("cuda:{index}")))
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<(Device, String), DeviceError> {
    Err(DeviceError::NotBuilt {
        device: "cuda",
        feature: "cuda",
    })
}

#[cfg(feature = "wgpu")]
fn wgpu() -> Result<(Device, String), DeviceError> {
    let open = || Device::wgpu(burn::tensor::DeviceKind::DefaultDevice);
    let needs = "a GPU with a driver of Vulkan, Metal or DirectX 12";
    Ok((probed("wgpu", needs, open)?, "wgpu".into()))
}

#[cfg(not(feature = "wgpu"))]
fn wgpu() -> Result<(Device, String), DeviceError> {
    Err(DeviceError::NotBuilt {
        device: "wgpu",
        feature: "wgpu",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_parsed() {
        for (text, expected) in [
            ("auto", Ok(DeviceChoice::Auto)),
            ("cpu", Ok(DeviceChoice::Cpu)),
            ("cuda", Ok(DeviceChoice::Cuda(0))),
            ("cuda:3", Ok(DeviceChoice::Cuda(3))),
            ("wgpu", Ok(DeviceChoice::Wgpu)),
            ("cuda:x", Err(DeviceError::Unknown("cuda:x".into()))),
            ("gpu", Err(DeviceError::Unknown("gpu".into()))),
        ] {
            assert_eq!(text.parse::<DeviceChoice>(), expected);
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_missing_feature_is_named() {
        let error = DeviceChoice::Cuda(0).resolve().unwrap_err();
        assert!(
            error.to_string().ends_with("build with --features cuda"),
            "{error}"
        );
    }
}
