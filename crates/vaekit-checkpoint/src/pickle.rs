//! Pickles as data: a closed reader of what `torch.save` writes.
//!
//! A pickle is a program for a small stack machine whose GLOBAL and REDUCE opcodes name and call Python functions. This
//! reader knows the handful of calls that build a tensor (`torch/_utils.py`) and the opcodes that torch's own weights-only
//! loader takes (`torch/_weights_only_unpickler.py`), with those that protocol 4 needs. Any other global becomes an opaque
//! value, so that a Lightning checkpoint's callbacks do not stand in the way of its tensors; what would run code or commands
//! is refused by name, because a file that holds it is an attack. Nothing is ever called.

use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use crate::dtype::Dtype;
use crate::source::ReadAt;

/// A whole Stable Diffusion checkpoint with optimizer states needs a few megabytes.
const MAX_PICKLE: u64 = 64 << 20;
const MAX_OBJECTS: usize = 1 << 22;
const MAX_TEXT: u64 = 1 << 20;
const MAX_GLOBAL: usize = 512;
const MAX_RANK: usize = 16;

/// A pickle that is refused.
#[derive(Debug, thiserror::Error)]
pub enum PickleError {
    /// It asks Python to run code.
    #[error(
        "its pickle would run `{global}` when loaded in Python: this is no checkpoint but an attack, refused (vaekit executes nothing)"
    )]
    Dangerous {
        /// Module and name.
        global: String,
    },
    /// An opcode that torch does not write.
    #[error("its pickle uses opcode {opcode:#04x} at byte {at}, which torch.save never writes; refused")]
    Opcode {
        /// The opcode.
        opcode: u8,
        /// Position from the pickle's start.
        at: u64,
    },
    /// It contradicts itself.
    #[error("its pickle is damaged at byte {at}: {what}")]
    Malformed {
        /// Position from the pickle's start.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Larger than any checkpoint's.
    #[error("its pickle has more than {limit} {what}; refused")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many are accepted.
        limit: u64,
    },
    /// Reading failed.
    #[error("its pickle cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// A value on the stack. Whatever can be changed or shared lies in [`Pickle::objects`].
#[derive(Clone, Debug)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Text(Rc<str>),
    Object(usize),
    Global(Rc<Global>),
    /// An instance of a class that is not known, by the class's name.
    Opaque(Rc<str>),
    /// A number or bytes that nothing here needs.
    Other,
}

#[derive(Debug)]
pub(crate) enum Object {
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Set,
    Storage(StorageRef),
    Tensor(TensorRef),
}

/// What a GLOBAL opcode names.
#[derive(Clone, Debug)]
pub(crate) enum Global {
    Rebuild(Rebuild),
    OrderedDict,
    /// A typed storage's class.
    Storage(Dtype),
    UntypedStorage,
    Dtype(Dtype),
    Opaque(Rc<str>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Rebuild {
    /// (storage, offset, size, stride ...): `_rebuild_tensor` and `_v2`.
    Typed,
    /// (storage, offset, size, stride, requires_grad, hooks, dtype ...): `_v3`.
    Untyped,
    /// (tensor, requires_grad, hooks).
    Parameter,
}

/// A storage by its key.
#[derive(Clone, Debug)]
pub(crate) struct StorageRef {
    pub(crate) key: Rc<str>,
    /// `None` if it counts bytes.
    pub(crate) dtype: Option<Dtype>,
    /// Elements before the first one, in a view of a legacy file.
    pub(crate) base: u64,
}

/// A tensor as a view of a storage, in elements.
#[derive(Clone, Debug)]
pub(crate) struct TensorRef {
    pub(crate) storage: StorageRef,
    pub(crate) dtype: Dtype,
    pub(crate) offset: u64,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<u64>,
}

/// A pickle's objects.
#[derive(Debug)]
pub struct Pickle {
    pub(crate) objects: Vec<Object>,
    pub(crate) root: Value,
    /// Bytes read.
    pub(crate) len: u64,
}

impl Pickle {
    /// Reads one pickle from `start` on; what follows it is not looked at.
    ///
    /// # Errors
    /// [`PickleError`].
    pub fn read(data: &dyn ReadAt, start: u64) -> Result<Self, PickleError> {
        Machine::new(data, start).run()
    }

    pub(crate) fn object(&self, value: &Value) -> Option<&Object> {
        match value {
            Value::Object(id) => self.objects.get(*id),
            _ => None,
        }
    }

    /// The pairs of a dict.
    pub(crate) fn dict(&self, value: &Value) -> Option<&[(Value, Value)]> {
        match self.object(value)? {
            Object::Dict(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// What a value is, for messages.
    pub(crate) fn describe(&self, value: &Value) -> String {
        match value {
            Value::None => "None".into(),
            Value::Bool(_) => "a bool".into(),
            Value::Int(_) => "a number".into(),
            Value::Text(_) => "a text".into(),
            Value::Global(_) => "a class or function".into(),
            Value::Opaque(class) => format!("an object made by `{class}`"),
            Value::Other => "a number or bytes".into(),
            Value::Object(_) => match self.object(value) {
                Some(Object::List(_)) => "a list",
                Some(Object::Tuple(_)) => "a tuple",
                Some(Object::Dict(_)) => "a dict",
                Some(Object::Set) => "a set",
                Some(Object::Storage(_)) => "a storage",
                Some(Object::Tensor(_)) => "a tensor",
                None => "nothing",
            }
            .into(),
        }
    }
}

impl Value {
    pub(crate) fn text(&self) -> Option<&Rc<str>> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    fn count(&self) -> Option<u64> {
        match self {
            Value::Int(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }
}

/// Modules whose functions run code or commands, read or write files, or reach the network; the list follows picklescan's.
/// A name stands for the module and all below it.
#[rustfmt::skip] // one module a line would hide the code
const DANGEROUS_MODULES: &[&str] = &[
    "_aix_support", "_io", "_osx_support", "_pickle", "_posixsubprocess", "_pyrepl", "aiohttp", "asyncio", "bdb",
    "cProfile", "cloudpickle", "cmd", "code", "codeop", "commands", "ctypes", "dill", "distutils", "doctest",
    "ensurepip", "fileinput", "ftplib", "gc", "http", "httplib", "idlelib", "imp", "importlib", "inspect", "io",
    "joblib", "lib2to3", "linecache", "marshal", "multiprocessing", "nt", "ntpath", "numpy.f2py", "numpy.testing",
    "operator", "os", "pdb", "pickle", "pip", "pkgutil", "platform", "popen2", "posix", "posixpath",
    "posixsubprocess", "profile", "pty", "pydoc", "requests", "runpy", "shelve", "shutil", "smtplib", "socket",
    "subprocess", "sys", "tempfile", "timeit", "torch.distributed", "torch.hub", "torch.jit", "torch.package",
    "torch.serialization", "torch.utils.bottleneck", "torch.utils.collect_env", "torch.utils.cpp_extension",
    "torch.utils.model_zoo", "trace", "types", "urllib", "urllib2", "venv", "webbrowser", "winreg", "xmlrpc",
    "zipimport",
];

/// Names that are only values, in modules that are otherwise refused.
#[rustfmt::skip]
const HARMLESS: &[&str] = &[
    "set", "frozenset", "list", "dict", "tuple", "int", "long", "float", "complex", "bool", "str", "unicode",
    "bytes", "bytearray", "slice", "range", "object",
];

fn is_dangerous(module: &str, name: &str) -> bool {
    match module {
        "builtins" | "__builtin__" => !HARMLESS.contains(&name),
        "torch" => matches!(name, "load" | "save" | "compile"),
        "numpy" => matches!(name, "load" | "save" | "fromfile" | "memmap"),
        _ => DANGEROUS_MODULES
            .iter()
            .any(|danger| module.strip_prefix(danger).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))),
    }
}

fn global(module: &str, name: &str) -> Result<Global, PickleError> {
    // STACK_GLOBAL may spell `os` + `path.x` or a module inside the name.
    let full = format!("{module}.{name}");
    if is_dangerous(module, name) || is_dangerous(&full, "") {
        return Err(PickleError::Dangerous { global: full });
    }
    Ok(match (module, name) {
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::Rebuild(Rebuild::Typed),
        ("torch._utils", "_rebuild_tensor_v3") => Global::Rebuild(Rebuild::Untyped),
        ("torch._utils", "_rebuild_parameter") => Global::Rebuild(Rebuild::Parameter),
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch.storage", "UntypedStorage") | ("torch", "UntypedStorage") => Global::UntypedStorage,
        ("torch" | "torch.cuda", storage) if storage.ends_with("Storage") => {
            Global::Storage(storage_dtype(storage.trim_end_matches("Storage")))
        }
        ("torch", dtype) => match Dtype::from_torch(dtype) {
            Dtype::Other(name) if !is_torch_dtype(&name) => Global::Opaque(full.into()),
            dtype => Global::Dtype(dtype),
        },
        _ => Global::Opaque(full.into()),
    })
}

fn storage_dtype(class: &str) -> Dtype {
    match class {
        "Char" => Dtype::I8,
        "Byte" => Dtype::U8,
        "BFloat16" => Dtype::Bf16,
        other => Dtype::from_torch(&other.to_lowercase()),
    }
}

fn is_torch_dtype(name: &str) -> bool {
    ["float", "uint", "int", "complex", "bits", "quint", "qint"].iter().any(|kind| name.starts_with(kind))
}

/// The stack machine.
struct Machine<'a> {
    input: Input<'a>,
    stack: Vec<Value>,
    /// Heights of the stack where a MARK was set.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    objects: Vec<Object>,
    /// Pairs that calls copied: the only values that cost memory without a byte of the pickle for each.
    copied: usize,
}

type Step<T> = Result<T, PickleError>;

impl<'a> Machine<'a> {
    fn new(data: &'a dyn ReadAt, start: u64) -> Self {
        let input = Input { data, start, filled: start, buffer: Vec::new(), at: 0 };
        Machine { input, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), objects: Vec::new(), copied: 0 }
    }

    fn run(mut self) -> Step<Pickle> {
        loop {
            let opcode = self.input.byte()?;
            if opcode == b'.' {
                let root = self.pop()?;
                return Ok(Pickle { objects: self.objects, root, len: self.input.position() });
            }
            self.step(opcode)?;
            if self.stack.len() + self.objects.len() + self.memo.len() + self.copied > MAX_OBJECTS {
                return Err(PickleError::Limit { what: "objects", limit: MAX_OBJECTS as u64 });
            }
        }
    }

    fn step(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            0x80 => drop(self.input.byte()?),          // PROTO
            0x95 => drop(self.input.array::<8>()?),    // FRAME
            b'(' => self.marks.push(self.stack.len()), // MARK
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'K' => self.push_int(1)?,
            b'M' => self.push_int(2)?,
            b'J' => {
                let n = i32::from_le_bytes(self.input.array()?);
                self.stack.push(Value::Int(n.into()));
            }
            0x8a => self.long1()?,
            b'G' => {
                self.input.array::<8>()?; // BINFLOAT
                self.stack.push(Value::Other);
            }
            b'X' => self.text(4)?,
            0x8c => self.text(1)?,
            0x8d => self.text(8)?,
            b'U' => self.text(1)?, // SHORT_BINSTRING, a Python 2 text
            b'C' => self.bytes(1)?,
            b'B' => self.bytes(4)?,
            0x8e => self.bytes(8)?,
            b'}' => self.push_object(Object::Dict(Vec::new())),
            b']' => self.push_object(Object::List(Vec::new())),
            b')' => self.push_object(Object::Tuple(Vec::new())),
            0x8f => self.push_object(Object::Set),
            b't' => {
                let items = self.pop_mark()?;
                self.push_object(Object::Tuple(items));
            }
            0x85..=0x87 => {
                let items = self.pop_n(usize::from(opcode - 0x84))?;
                self.push_object(Object::Tuple(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.append(items)?;
            }
            0x90 => drop(self.pop_mark()?), // ADDITEMS: what a set holds is never needed
            b's' => {
                let pair = self.pop_n(2)?;
                self.set_items(pair)?;
            }
            b'u' => {
                let pairs = self.pop_mark()?;
                self.set_items(pairs)?;
            }
            b'q' => self.memoize(1)?,
            b'r' => self.memoize(4)?,
            0x94 => {
                let value = self.top()?.clone();
                self.memo.insert(self.memo.len() as u64, value);
            }
            b'h' => self.recall(1)?,
            b'j' => self.recall(4)?,
            b'c' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                self.stack.push(Value::Global(global(&module, &name)?.into()));
            }
            0x93 => {
                let names = self.pop_n(2)?;
                let (Some(module), Some(name)) = (names[0].text(), names[1].text()) else {
                    return Err(self.malformed("a global's name is no text"));
                };
                let global = global(module, name)?;
                self.stack.push(Value::Global(global.into()));
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(&id)?;
                self.push_object(Object::Storage(storage));
            }
            b'R' | 0x81 => {
                let operands = self.pop_n(2)?;
                let made = self.call(&operands[0], &operands[1])?;
                self.stack.push(made);
            }
            b'b' => drop(self.pop()?), // BUILD: an OrderedDict's `_metadata`, or the state of an opaque object
            _ => return Err(PickleError::Opcode { opcode, at: self.input.position() - 1 }),
        }
        Ok(())
    }

    fn malformed(&self, what: &'static str) -> PickleError {
        PickleError::Malformed { at: self.input.position(), what }
    }

    fn pop(&mut self) -> Step<Value> {
        self.stack.pop().ok_or_else(|| self.malformed("the stack is empty"))
    }

    fn pop_n(&mut self, n: usize) -> Step<Vec<Value>> {
        let start = self.stack.len().checked_sub(n).ok_or_else(|| self.malformed("the stack is empty"))?;
        Ok(self.stack.split_off(start))
    }

    fn pop_mark(&mut self) -> Step<Vec<Value>> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or_else(|| self.malformed("there is no mark"))?))
    }

    fn top(&self) -> Step<&Value> {
        self.stack.last().ok_or_else(|| self.malformed("the stack is empty"))
    }

    fn push_object(&mut self, object: Object) {
        self.stack.push(Value::Object(self.objects.len()));
        self.objects.push(object);
    }

    fn push_int(&mut self, width: usize) -> Step<()> {
        let n = self.input.uint(width)?;
        self.stack.push(Value::Int(n as i64));
        Ok(())
    }

    /// Two's complement of any length; those that do not fit are never needed.
    fn long1(&mut self) -> Step<()> {
        let len = self.input.byte()?;
        let bytes = self.input.take(len.into())?;
        let value = if bytes.len() > 8 {
            Value::Other
        } else {
            let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
            let mut wide = [sign; 8];
            wide[..bytes.len()].copy_from_slice(&bytes);
            Value::Int(i64::from_le_bytes(wide))
        };
        self.stack.push(value);
        Ok(())
    }

    fn take_counted(&mut self, width: usize) -> Step<Vec<u8>> {
        let len = self.input.uint(width)?;
        if len > MAX_TEXT {
            return Err(PickleError::Limit { what: "bytes in one text", limit: MAX_TEXT });
        }
        self.input.take(len as usize)
    }

    fn text(&mut self, width: usize) -> Step<()> {
        let bytes = self.take_counted(width)?;
        self.stack.push(String::from_utf8(bytes).map_or(Value::Other, |text| Value::Text(text.into())));
        Ok(())
    }

    fn bytes(&mut self, width: usize) -> Step<()> {
        self.take_counted(width)?;
        self.stack.push(Value::Other);
        Ok(())
    }

    fn memoize(&mut self, width: usize) -> Step<()> {
        let key = self.input.uint(width)?;
        let value = self.top()?.clone();
        self.memo.insert(key, value);
        Ok(())
    }

    fn recall(&mut self, width: usize) -> Step<()> {
        let key = self.input.uint(width)?;
        let value = self.memo.get(&key).cloned().ok_or_else(|| self.malformed("the memo has no such entry"))?;
        self.stack.push(value);
        Ok(())
    }

    /// The object on top that items are added to; `None` if it is opaque.
    fn container(&mut self) -> Step<Option<&mut Object>> {
        match self.top()? {
            Value::Object(id) => {
                let id = *id;
                Ok(self.objects.get_mut(id))
            }
            Value::Opaque(_) => Ok(None),
            _ => Err(self.malformed("items are added to a value that holds none")),
        }
    }

    fn append(&mut self, items: Vec<Value>) -> Step<()> {
        match self.container()? {
            Some(Object::List(list)) => list.extend(items),
            None => {}
            Some(_) => return Err(self.malformed("items are appended to a value that is no list")),
        }
        Ok(())
    }

    fn set_items(&mut self, items: Vec<Value>) -> Step<()> {
        if !items.len().is_multiple_of(2) {
            return Err(self.malformed("a key has no value"));
        }
        let mut items = items.into_iter();
        match self.container()? {
            Some(Object::Dict(pairs)) => {
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    pairs.push((key, value));
                }
            }
            None => {}
            Some(_) => return Err(self.malformed("a key is set on a value that is no dict")),
        }
        Ok(())
    }

    fn items(&self, value: &Value) -> Option<&[Value]> {
        match value {
            Value::Object(id) => match self.objects.get(*id)? {
                Object::Tuple(items) | Object::List(items) => Some(items),
                _ => None,
            },
            _ => None,
        }
    }

    /// `("storage", class, key, location, elements[, view])`, the persistent ids of torch.
    fn storage(&self, id: &Value) -> Step<StorageRef> {
        let nonsense = || self.malformed("a persistent id is no storage");
        let Some([Value::Text(kind), Value::Global(class), Value::Text(key), _location, elements, view @ ..]) =
            self.items(id)
        else {
            return Err(nonsense());
        };
        let dtype = match &**class {
            Global::Storage(dtype) => Some(dtype.clone()),
            Global::UntypedStorage => None,
            _ => return Err(nonsense()),
        };
        elements.count().filter(|_| &**kind == "storage").ok_or_else(nonsense)?;
        // The legacy format's view: (key, offset, size).
        let base = match view.first().and_then(|view| self.items(view)) {
            Some([_, offset, _]) => offset.count().ok_or_else(nonsense)?,
            _ => 0,
        };
        Ok(StorageRef { key: key.clone(), dtype, base })
    }

    /// REDUCE and NEWOBJ, of which only the known few make anything.
    fn call(&mut self, callable: &Value, args: &Value) -> Step<Value> {
        let global = match callable {
            Value::Global(global) => global.clone(),
            Value::Opaque(name) => return Ok(Value::Opaque(name.clone())),
            _ => return Err(self.malformed("a value that is no function is called")),
        };
        let args = self.items(args).ok_or_else(|| self.malformed("a call's arguments are no tuple"))?;
        match &*global {
            Global::Rebuild(Rebuild::Parameter) => {
                args.first().cloned().ok_or_else(|| self.malformed("a parameter has no tensor"))
            }
            Global::Rebuild(rebuild) => {
                let tensor =
                    self.tensor(*rebuild, args).ok_or_else(|| self.malformed("a tensor's description is broken"))?;
                Ok(self.new_object(Object::Tensor(tensor)))
            }
            Global::OrderedDict => {
                let pairs = args.first().and_then(|list| self.items(list)).unwrap_or_default();
                let pairs = pairs.iter().filter_map(|pair| match self.items(pair) {
                    Some([key, value]) => Some((key.clone(), value.clone())),
                    _ => None,
                });
                let pairs: Vec<_> = pairs.collect();
                self.copied += pairs.len();
                Ok(self.new_object(Object::Dict(pairs)))
            }
            Global::Opaque(name) => Ok(Value::Opaque(name.clone())),
            Global::Storage(_) | Global::UntypedStorage | Global::Dtype(_) => Ok(Value::Other),
        }
    }

    fn new_object(&mut self, object: Object) -> Value {
        self.objects.push(object);
        Value::Object(self.objects.len() - 1)
    }

    fn tensor(&self, rebuild: Rebuild, args: &[Value]) -> Option<TensorRef> {
        let [Value::Object(storage), offset, size, stride, more @ ..] = args else { return None };
        let Object::Storage(storage) = self.objects.get(*storage)? else { return None };
        let dtype = match (rebuild, more) {
            (Rebuild::Untyped, [_requires_grad, _hooks, Value::Global(dtype), ..]) => match &**dtype {
                Global::Dtype(dtype) => dtype.clone(),
                _ => return None,
            },
            (Rebuild::Untyped, _) => return None,
            _ => storage.dtype.clone()?,
        };
        let (size, stride) = (self.items(size)?, self.items(stride)?);
        if size.len() != stride.len() || size.len() > MAX_RANK {
            return None;
        }
        let shape = size.iter().map(|dim| usize::try_from(dim.count()?).ok()).collect::<Option<_>>()?;
        let strides = stride.iter().map(Value::count).collect::<Option<_>>()?;
        Some(TensorRef { storage: storage.clone(), dtype, offset: offset.count()?, shape, strides })
    }
}

/// The pickle's bytes, fetched in pieces: in a legacy file its length is not known beforehand.
struct Input<'a> {
    data: &'a dyn ReadAt,
    start: u64,
    /// Where the buffer ends in the data.
    filled: u64,
    buffer: Vec<u8>,
    /// Position in the buffer.
    at: usize,
}

impl Input<'_> {
    /// Bytes consumed.
    fn position(&self) -> u64 {
        self.filled - self.start - (self.buffer.len() - self.at) as u64
    }

    fn take(&mut self, n: usize) -> Step<Vec<u8>> {
        while self.buffer.len() - self.at < n {
            self.fill()?;
        }
        self.at += n;
        Ok(self.buffer[self.at - n..self.at].to_vec())
    }

    fn fill(&mut self) -> Step<()> {
        let left = self.data.len().saturating_sub(self.filled);
        if left == 0 {
            return Err(PickleError::Malformed { at: self.position(), what: "it ends early; the file is truncated" });
        }
        if self.filled - self.start > MAX_PICKLE {
            return Err(PickleError::Limit { what: "bytes", limit: MAX_PICKLE });
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let old = self.buffer.len();
        let piece = left.min(1 << 16);
        self.buffer.resize(old + piece as usize, 0);
        self.data.read_at(self.filled, &mut self.buffer[old..])?;
        self.filled += piece;
        Ok(())
    }

    fn byte(&mut self) -> Step<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let mut array = [0; N];
        while self.buffer.len() - self.at < N {
            self.fill()?;
        }
        array.copy_from_slice(&self.buffer[self.at..self.at + N]);
        self.at += N;
        Ok(array)
    }

    /// An unsigned little-endian number of `width` bytes, at most 8.
    fn uint(&mut self, width: usize) -> Step<u64> {
        let mut wide = [0; 8];
        for byte in &mut wide[..width] {
            *byte = self.byte()?;
        }
        Ok(u64::from_le_bytes(wide))
    }

    fn line(&mut self) -> Step<String> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                _ if line.len() == MAX_GLOBAL => {
                    return Err(PickleError::Limit { what: "bytes in a global's name", limit: MAX_GLOBAL as u64 });
                }
                byte => line.push(byte),
            }
        }
        String::from_utf8(line)
            .map_err(|_| PickleError::Malformed { at: self.position(), what: "a global's name is no text" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pickle: &[u8]) -> Result<Pickle, PickleError> {
        Pickle::read(&pickle.to_vec(), 0)
    }

    fn check_error(pickle: &[u8], expected: &str) {
        assert_eq!(read(pickle).unwrap_err().to_string(), expected);
    }

    #[test]
    fn dangerous_globals_are_refused_even_uncalled() {
        for (pickle, global) in [
            (&b"\x80\x02cos\nsystem\n."[..], "os.system"),
            (b"\x80\x02cposix\nsystem\n.", "posix.system"),
            (b"\x80\x02c__builtin__\neval\n.", "__builtin__.eval"),
            (b"\x80\x02cbuiltins\ngetattr\n.", "builtins.getattr"),
            (b"\x80\x04\x8c\x02os\x8c\x0bpath.system\x93.", "os.path.system"),
            (b"\x80\x04\x8c\x0dtorch.package\x8c\x01x\x93.", "torch.package.x"),
            (b"\x80\x04\x8c\x05torch\x8c\x09package.x\x93.", "torch.package.x"),
            (b"\x80\x02ctorch.hub\nload\n.", "torch.hub.load"),
        ] {
            let expected = format!(
                "its pickle would run `{global}` when loaded in Python: this is no checkpoint but an attack, refused (vaekit executes nothing)"
            );
            check_error(pickle, &expected);
        }
    }

    #[test]
    fn foreign_classes_are_opaque_and_swallow_everything() {
        let pickle = b"\x80\x02}cpytorch_lightning.callbacks\nModelCheckpoint\n)\x81}b]K\x01as.";
        let pickle = read(pickle).unwrap();
        let [(key, value)] = pickle.dict(&pickle.root).unwrap() else { panic!("{pickle:?}") };
        assert_eq!(pickle.describe(key), "an object made by `pytorch_lightning.callbacks.ModelCheckpoint`");
        assert_eq!(pickle.describe(value), "a list");
    }

    #[test]
    fn protocol_4_and_numbers() {
        let pickle =
            read(b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x01a\x94\x8a\x02\x00\xffM\x01\x02J\xff\xff\xff\xff\x87h\0\x86.")
                .unwrap();
        let Some(Object::Tuple(items)) = pickle.object(&pickle.root) else { panic!("{pickle:?}") };
        assert_eq!(items[1].text().unwrap().as_ref(), "a");
        let Some(Object::Tuple(items)) = pickle.object(&items[0]) else { panic!("{pickle:?}") };
        assert!(matches!(items[..], [Value::Int(-256), Value::Int(513), Value::Int(-1)]));
    }

    #[test]
    fn damage_is_refused() {
        check_error(b"\x80\x02", "its pickle is damaged at byte 2: it ends early; the file is truncated");
        check_error(b"\x80\x02R", "its pickle is damaged at byte 3: the stack is empty");
        check_error(b"\x80\x02t", "its pickle is damaged at byte 3: there is no mark");
        check_error(b"\x80\x02h\x07", "its pickle is damaged at byte 4: the memo has no such entry");
        check_error(b"\x80\x02i", "its pickle uses opcode 0x69 at byte 2, which torch.save never writes; refused");
        check_error(b"\x80\x02X\xff\xff\xff\x7f", "its pickle has more than 1048576 bytes in one text; refused");
        check_error(b"\x80\x02(N0", "its pickle uses opcode 0x30 at byte 4, which torch.save never writes; refused");
    }
    /// 40 kB that would take gigabytes: one list of pairs, made into a dict again and again.
    #[test]
    fn copies_of_a_long_list_are_counted() {
        let mut bomb = b"\x80\x02ccollections\nOrderedDict\nq\0NN\x86q\x01](".to_vec();
        bomb.extend(b"h\x01".repeat(10_000));
        bomb.extend_from_slice(b"e\x85q\x02");
        bomb.extend(b"h\0h\x02R".repeat(4_000));
        bomb.push(b'.');
        check_error(&bomb, "its pickle has more than 4194304 objects; refused");
    }
}
