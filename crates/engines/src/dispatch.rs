//! The one place where a network is handed to its backend, and a backend looked for.
//!
//! Refuses to fall back: a backend that is asked for and not there is an error.

use super::backend::{Backend, Precision, Presence, Runtime};
use super::{Engine, EngineError, EngineSpec};

impl Backend {
    /// Whether it could be used on this machine, as far as can be told without a network.
    pub fn presence(self) -> Presence {
        match self {
            Backend::Native => built_in(),
            Backend::Tract if cfg!(feature = "tract") => built_in(),
            Backend::OpenVino => openvino_presence(),
            Backend::TensorRt => super::tensorrt::presence(),
            Backend::Tract => not_built(),
        }
    }
}

fn built_in() -> Presence {
    Presence::Present { version: "built in".to_owned(), place: "this program".to_owned() }
}

fn not_built() -> Presence {
    Presence::Absent { reason: "this program was built without it".to_owned() }
}

#[cfg(feature = "openvino")]
fn openvino_presence() -> Presence {
    match super::openvino::library::open() {
        Ok(library) => Presence::Present {
            version: library.version,
            place: library.path.display().to_string(),
        },
        Err(reason) => Presence::Absent { reason },
    }
}

#[cfg(not(feature = "openvino"))]
fn openvino_presence() -> Presence {
    not_built()
}

impl Runtime {
    /// Hands the ONNX file `bytes` to the backend; `name` is for messages.
    ///
    /// # Errors
    /// [`EngineError::Backend`] if the backend is not in this program or not on this machine,
    /// or cannot compile the network; [`EngineError::Shape`] if the network is not `spec`.
    pub fn compile(
        &self,
        bytes: &[u8],
        name: &str,
        spec: &EngineSpec,
    ) -> Result<Box<dyn Engine>, EngineError> {
        match (self.backend, self.precision) {
            (Backend::Native, _) => self.native(bytes, name, spec),
            (Backend::Tract, Precision::F32) => self.tract(bytes, name, spec),
            (Backend::OpenVino, _) => self.openvino(bytes, name, spec),
            (Backend::TensorRt, _) => {
                super::tensorrt::prepare(self, bytes, name, spec).map(|prepared| prepared.engine)
            }
            (Backend::Tract, _) => Err(self.refuse("it computes in f32 only")),
        }
    }

    fn native(
        &self,
        bytes: &[u8],
        name: &str,
        spec: &EngineSpec,
    ) -> Result<Box<dyn Engine>, EngineError> {
        let precision = match self.precision {
            Precision::F32 => super::native::Precision::F32,
            Precision::Bf16 => super::native::Precision::Bf16,
            Precision::F16 => return Err(self.refuse("it computes in f32 or bf16")),
        };
        let threads = self.threads();
        Ok(Box::new(super::native::NativeEngine::load(bytes, name, spec, threads, precision)?))
    }

    #[cfg(feature = "tract")]
    fn tract(
        &self,
        bytes: &[u8],
        name: &str,
        spec: &EngineSpec,
    ) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(super::tract::OnnxEngine::load(bytes, name, spec, self.threads())?))
    }

    #[cfg(not(feature = "tract"))]
    fn tract(&self, _: &[u8], _: &str, _: &EngineSpec) -> Result<Box<dyn Engine>, EngineError> {
        Err(self.refuse("this program was built without it; choose another backend"))
    }

    #[cfg(feature = "openvino")]
    fn openvino(
        &self,
        bytes: &[u8],
        name: &str,
        spec: &EngineSpec,
    ) -> Result<Box<dyn Engine>, EngineError> {
        let options = super::openvino::Options {
            precision: self.precision,
            threads: self.threads(),
            cache: self.cache.as_deref(),
        };
        Ok(Box::new(super::openvino::OpenVinoEngine::load(bytes, name, spec, &options)?))
    }

    #[cfg(not(feature = "openvino"))]
    fn openvino(&self, _: &[u8], _: &str, _: &EngineSpec) -> Result<Box<dyn Engine>, EngineError> {
        Err(self.refuse("this program was built without it; choose another backend"))
    }

    fn refuse(&self, reason: &str) -> EngineError {
        EngineError::Backend { backend: self.backend.name(), reason: reason.to_owned() }
    }
}
