//! The C interface of `shim.cpp`, declaration by declaration, and safe words around it.
//!
//! Owns every call into TensorRT. Refuses to call a library whose major is not the shim's:
//! past `getInferLibVersion` a wrong table of virtual functions is a crash or, worse, an
//! answer.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::Version;

/// `HEP_INTERFACE` of the shim this file mirrors.
const INTERFACE: i32 = 1;
/// TensorRT's last words that are kept for a message.
const MAX_LINES: usize = 4;
/// A line of TensorRT longer than this is cut.
const MAX_LINE_CHARS: usize = 300;
/// Most input and output tensors looked at; ours have one each.
const MAX_TENSORS: i32 = 64;
/// Most axes of a tensor: TensorRT's own limit.
const MAX_RANK: usize = 8;

type Entry = *mut c_void;
type Sink = extern "C" fn(*mut c_void, i32, *const c_char);

/// `struct HepTensor`.
#[repr(C)]
struct RawTensor {
    name: *const c_char,
    is_input: i32,
    kind: i32,
    rank: i32,
    shape: [i64; MAX_RANK],
}

/// `struct HepBuild`.
#[repr(C)]
struct RawBuild {
    create_builder: Entry,
    create_parser: Entry,
    onnx: *const u8,
    onnx_bytes: u64,
    timing: *const u8,
    timing_bytes: u64,
    workspace_bytes: u64,
    half: i32,
    capability: i32,
}

/// The shim's functions, in its order.
struct Shim {
    headers: extern "C" fn() -> i32,
    has_parser: extern "C" fn() -> i32,
    logger: unsafe extern "C" fn(Sink, *mut c_void) -> *mut c_void,
    logger_free: unsafe extern "C" fn(*mut c_void),
    engine: unsafe extern "C" fn(Entry, *mut c_void, *const u8, u64, *mut *mut c_void) -> i32,
    engine_free: unsafe extern "C" fn(*mut c_void),
    tensors: unsafe extern "C" fn(*mut c_void) -> i32,
    tensor: unsafe extern "C" fn(*mut c_void, i32, *mut RawTensor),
    scratch_bytes: unsafe extern "C" fn(*mut c_void) -> i64,
    context: unsafe extern "C" fn(*mut c_void) -> i32,
    bind: unsafe extern "C" fn(*mut c_void, *const c_char, *mut c_void) -> i32,
    enqueue: unsafe extern "C" fn(*mut c_void, *mut c_void) -> i32,
    build: unsafe extern "C" fn(
        *const RawBuild,
        *mut c_void,
        *mut *mut c_void,
        *mut *mut c_void,
    ) -> i32,
    blob: unsafe extern "C" fn(*mut c_void, *mut u64) -> *const u8,
    blob_free: unsafe extern "C" fn(*mut c_void),
}

/// TensorRT and the shim of its major, both open until the process ends: unloading a CUDA
/// library that has run threads is not safe.
pub(super) struct Library {
    shim: Shim,
    create_runtime: Entry,
    create_builder: Entry,
    create_parser: Entry,
    /// The library's own version.
    pub version: Version,
}

// SAFETY: the pointers are entry points of libraries that stay loaded; TensorRT's create
// functions may be called from any thread.
unsafe impl Send for Library {}
// SAFETY: as above; nothing in here is written after opening.
unsafe impl Sync for Library {}

impl Library {
    /// Opens libnvinfer, asks its version, then the shim, and compares; only then is anything
    /// else called. `parser` is libnvonnxparser, if it is there.
    pub(super) fn open(
        nvinfer: &Path,
        shim: &Path,
        parser: Option<&Path>,
    ) -> Result<Library, String> {
        let inference = load(nvinfer)?;
        let version =
            library_version(&inference).map_err(|e| format!("{}: {e}", nvinfer.display()))?;
        let glue = load(shim)?;
        let at = |reason: String| format!("{}: {reason}", shim.display());
        let functions = shim_functions(&glue).map_err(at)?;
        let headers = Version::of_headers((functions.headers)());
        if headers.major != version.major {
            return Err(at(format!(
                "it was built for TensorRT {}, {} is TensorRT {version}; build it again with scripts/trt-shim",
                headers.major,
                nvinfer.display()
            )));
        }
        let entry = |library: &libloading::Library, name: &str| {
            // SAFETY: only the address is taken; who calls it knows its type.
            let found = unsafe { library.get::<Entry>(name.as_bytes()) };
            found.map(|symbol| *symbol).map_err(|error| causes(&error))
        };
        let create_runtime = entry(&inference, "createInferRuntime_INTERNAL")?;
        let create_builder = entry(&inference, "createInferBuilder_INTERNAL")?;
        let parser = parser.and_then(|path| load(path).ok());
        let create_parser =
            parser.as_ref().and_then(|library| entry(library, "createNvOnnxParser_INTERNAL").ok());
        // Loaded for good: see the type.
        std::mem::forget((inference, glue, parser));
        Ok(Library {
            shim: functions,
            create_runtime,
            create_builder,
            create_parser: create_parser.unwrap_or(std::ptr::null_mut()),
            version,
        })
    }

    /// Whether ONNX can be compiled: parser library and the shim's part for it are there.
    pub(super) fn reads_onnx(&self) -> bool {
        !self.create_parser.is_null() && (self.shim.has_parser)() == 1
    }
}

fn load(path: &Path) -> Result<libloading::Library, String> {
    // SAFETY: runs the library's initialisers. The path is a library the administrator put
    // beside the program or into the system's folders.
    unsafe { libloading::Library::new(path) }
        .map_err(|error| format!("{}: {}", path.display(), causes(&error)))
}

/// Whether the system's loader finds a library of this name.
pub(super) fn opens(path: &Path) -> bool {
    // Kept open: it is about to be used, and opening it again costs nothing then.
    load(path).map(std::mem::forget).is_ok()
}

/// An error with what caused it: libloading's own words leave the system's out.
fn causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", causes(cause)),
        None => error.to_string(),
    }
}

/// `getInferLibVersion` is plain C with one meaning in every major.
fn library_version(library: &libloading::Library) -> Result<Version, String> {
    // SAFETY: declared `extern "C" int32_t getInferLibVersion()` in every NvInferRuntime.h.
    let call = unsafe { library.get::<extern "C" fn() -> i32>(b"getInferLibVersion") };
    let call = call.map_err(|_| "this is not TensorRT: no getInferLibVersion".to_owned())?;
    Ok(Version::of_library(call()))
}

fn shim_functions(library: &libloading::Library) -> Result<Shim, String> {
    macro_rules! symbol {
        ($name:literal) => {{
            // SAFETY: the type is the field's, which mirrors the declaration in shim.cpp;
            // the interface number says whether it still does.
            let found = unsafe { library.get(concat!("hep_", $name).as_bytes()) };
            *found.map_err(|_| {
                format!("hep_{} is missing; build it again with scripts/trt-shim", $name)
            })?
        }};
    }
    let interface: extern "C" fn() -> i32 = symbol!("interface");
    if interface() != INTERFACE {
        let found = interface();
        return Err(format!(
            "it speaks version {found} of the interface, this program version {INTERFACE}; build it again with scripts/trt-shim"
        ));
    }
    Ok(Shim {
        headers: symbol!("headers"),
        has_parser: symbol!("has_parser"),
        logger: symbol!("logger"),
        logger_free: symbol!("logger_free"),
        engine: symbol!("engine"),
        engine_free: symbol!("engine_free"),
        tensors: symbol!("tensors"),
        tensor: symbol!("tensor"),
        scratch_bytes: symbol!("scratch_bytes"),
        context: symbol!("context"),
        bind: symbol!("bind"),
        enqueue: symbol!("enqueue"),
        build: symbol!("build"),
        blob: symbol!("blob"),
        blob_free: symbol!("blob_free"),
    })
}

type Lines = Mutex<VecDeque<String>>;

/// TensorRT's logger, and its last errors and warnings.
struct Journal {
    library: Arc<Library>,
    logger: *mut c_void,
    // Shared with the logger, which has only its address.
    lines: Arc<Lines>,
}

impl Journal {
    fn new(library: &Arc<Library>) -> Result<Journal, String> {
        let lines: Arc<Lines> = Arc::default();
        let user = Arc::as_ptr(&lines).cast_mut().cast::<c_void>();
        // SAFETY: what `user` points to lives until the logger is freed.
        let logger = unsafe { (library.shim.logger)(note, user) };
        if logger.is_null() {
            return Err("no memory for a logger".to_owned());
        }
        Ok(Journal { library: Arc::clone(library), logger, lines })
    }

    /// What `status` means, with TensorRT's own words.
    fn explain(&self, status: i32) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let said: Vec<&str> = lines.iter().map(String::as_str).collect();
        match said.is_empty() {
            true => sentence(status).to_owned(),
            false => format!("{} (TensorRT says: {})", sentence(status), said.join(" | ")),
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // SAFETY: made by `logger`, freed once; what used it was freed before.
        unsafe { (self.library.shim.logger_free)(self.logger) }
    }
}

/// Called by TensorRT, from any of its threads.
extern "C" fn note(user: *mut c_void, _severity: i32, text: *const c_char) {
    if user.is_null() || text.is_null() {
        return;
    }
    // SAFETY: `user` is the journal's `Lines`, which outlives the logger, shared by a lock;
    // `text` is a C string that lives through the call.
    let (lines, text) = unsafe { (&*user.cast::<Lines>(), CStr::from_ptr(text)) };
    let line: String = text.to_string_lossy().chars().take(MAX_LINE_CHARS).collect();
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    if lines.len() == MAX_LINES {
        lines.pop_front();
    }
    lines.push_back(line.replace('\n', " "));
}

/// `enum Status` of the shim, as a sentence.
fn sentence(status: i32) -> &'static str {
    match status {
        1 => "TensorRT gives no runtime",
        2 => "TensorRT does not accept the plan",
        3 => "TensorRT gives no execution context: not enough GPU memory",
        4 => "TensorRT refuses a tensor's address",
        5 => "TensorRT refuses to run",
        6 => "TensorRT gives no builder",
        7 => "TensorRT gives no empty network",
        8 => "TensorRT has no ONNX parser here",
        9 => "TensorRT cannot read the network",
        10 => "the network cannot be written in f16",
        11 => "TensorRT builds no plan of the network",
        12 => "no memory for an engine",
        _ => "the shim gives an unknown status",
    }
}

/// The numbers a tensor is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    F32,
    F16,
    /// `DataType` that no network of ours has at its ends.
    Other(i32),
}

/// One input or output of an engine.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    pub name: CString,
    pub is_input: bool,
    pub kind: Kind,
    /// -1 is an axis of unknown size.
    pub shape: Vec<i64>,
}

/// A deserialised plan, with its runtime and, once started, its execution context.
pub(super) struct Loaded {
    handle: *mut c_void,
    // After the handle: the engine logs while it is taken down.
    journal: Journal,
}

// SAFETY: TensorRT's objects may move between threads; `&mut self` and the owner see to it
// that one thread at a time calls them.
unsafe impl Send for Loaded {}

impl Loaded {
    /// Deserialises. The bytes must come from a checked source: TensorRT does not notice a
    /// flipped weight.
    pub(super) fn new(library: &Arc<Library>, plan: &[u8]) -> Result<Loaded, String> {
        let journal = Journal::new(library)?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: the entry point is this major's, the slice lives through the call, TensorRT
        // copies what it keeps.
        let status = unsafe {
            (library.shim.engine)(
                library.create_runtime,
                journal.logger,
                plan.as_ptr(),
                plan.len() as u64,
                &raw mut handle,
            )
        };
        if status == 0 { Ok(Loaded { handle, journal }) } else { Err(journal.explain(status)) }
    }

    fn shim(&self) -> &Shim {
        &self.journal.library.shim
    }

    fn done(&self, status: i32) -> Result<(), String> {
        if status == 0 { Ok(()) } else { Err(self.journal.explain(status)) }
    }

    /// Its inputs and outputs.
    pub(super) fn tensors(&self) -> Vec<Tensor> {
        // SAFETY: the handle is an engine until `self` is dropped.
        let count = unsafe { (self.shim().tensors)(self.handle) };
        (0..count.clamp(0, MAX_TENSORS)).map(|index| self.tensor(index)).collect()
    }

    fn tensor(&self, index: i32) -> Tensor {
        let mut raw = RawTensor {
            name: std::ptr::null(),
            is_input: 0,
            kind: 0,
            rank: 0,
            shape: [0; MAX_RANK],
        };
        // SAFETY: the index is below the count; the shim fills a struct of this layout.
        unsafe { (self.shim().tensor)(self.handle, index, &raw mut raw) };
        let name = match raw.name.is_null() {
            true => CString::default(),
            // SAFETY: a C string that lives as long as the engine; copied here.
            false => unsafe { CStr::from_ptr(raw.name) }.to_owned(),
        };
        let rank = usize::try_from(raw.rank).unwrap_or(0).min(MAX_RANK);
        let kind = match raw.kind {
            0 => Kind::F32,
            1 => Kind::F16,
            other => Kind::Other(other),
        };
        Tensor { name, is_input: raw.is_input == 1, kind, shape: raw.shape[..rank].to_vec() }
    }

    /// GPU memory that [`Loaded::start`] takes.
    pub(super) fn scratch_bytes(&self) -> u64 {
        // SAFETY: the handle is an engine until `self` is dropped.
        u64::try_from(unsafe { (self.shim().scratch_bytes)(self.handle) }).unwrap_or(0)
    }

    /// Makes the execution context.
    pub(super) fn start(&mut self) -> Result<(), String> {
        // SAFETY: the handle is an engine until `self` is dropped.
        self.done(unsafe { (self.shim().context)(self.handle) })
    }

    /// Queues one run on `stream`.
    ///
    /// # Safety
    /// Started; each tensor of [`Loaded::tensors`] has an address in `bindings` that the GPU
    /// may reach and that is large enough, until the run is over; `stream` is a stream of the
    /// current context.
    pub(super) unsafe fn enqueue(
        &mut self,
        bindings: &[(&CStr, u64)],
        stream: *mut c_void,
    ) -> Result<(), String> {
        for (name, address) in bindings {
            let address = *address as *mut c_void;
            // SAFETY: the caller's promise; the name lives through the call.
            self.done(unsafe { (self.shim().bind)(self.handle, name.as_ptr(), address) })?;
        }
        // SAFETY: the caller's promise.
        self.done(unsafe { (self.shim().enqueue)(self.handle, stream) })
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: made by `engine`, freed once, before its logger.
        unsafe { (self.shim().engine_free)(self.handle) }
    }
}

/// What a plan is built from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    pub onnx: &'a [u8],
    /// A timing cache of this device and version, or nothing.
    pub timing: &'a [u8],
    pub workspace_bytes: u64,
    /// f16 with f32 normalisation, instead of f32.
    pub half: bool,
}

/// A plan, and the timing cache after building it (empty if there is none).
pub(super) struct Built {
    pub plan: Vec<u8>,
    pub timing: Vec<u8>,
}

/// Compiles ONNX on the current device; takes minutes on a small one.
pub(super) fn build(library: &Arc<Library>, wish: &Wish<'_>) -> Result<Built, String> {
    let journal = Journal::new(library)?;
    let raw = RawBuild {
        create_builder: library.create_builder,
        create_parser: library.create_parser,
        onnx: wish.onnx.as_ptr(),
        onnx_bytes: wish.onnx.len() as u64,
        timing: wish.timing.as_ptr(),
        timing_bytes: wish.timing.len() as u64,
        workspace_bytes: wish.workspace_bytes,
        half: i32::from(wish.half),
        capability: 0,
    };
    let (mut plan, mut timing) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the struct has the shim's layout; the slices live through the call.
    let status = unsafe {
        (library.shim.build)(&raw const raw, journal.logger, &raw mut plan, &raw mut timing)
    };
    let built =
        Built { plan: take_blob(&library.shim, plan), timing: take_blob(&library.shim, timing) };
    if status == 0 { Ok(built) } else { Err(journal.explain(status)) }
}

/// Copies and frees what the shim gave; nothing of null.
fn take_blob(shim: &Shim, blob: *mut c_void) -> Vec<u8> {
    if blob.is_null() {
        return Vec::new();
    }
    let mut bytes = 0_u64;
    // SAFETY: the shim made the blob; it is read once and freed once.
    unsafe {
        let start = (shim.blob)(blob, &raw mut bytes);
        let length = usize::try_from(bytes).unwrap_or(0);
        let copy = match start.is_null() {
            true => Vec::new(),
            false => std::slice::from_raw_parts(start, length).to_vec(),
        };
        (shim.blob_free)(blob);
        copy
    }
}
