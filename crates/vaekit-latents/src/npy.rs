//! NumPy's `.npy`: a Python dict in text, then the values. Source: `numpy.lib.format`'s documentation.

use std::borrow::Cow;

use crate::{
    Format, Precision,
    element::{Element, Layout, Stored},
    read::ReadErrorKind,
};

/// The first bytes of every file.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// Where values start: a multiple of this, since version 1.14 of NumPy.
const ALIGNMENT: usize = 64;

/// Longest header that `numpy.load` accepts unless told otherwise (`max_header_size`).
const MAX_HEADER: usize = 10_000;

/// Reads one array; the bytes must end with it.
pub(crate) fn read<'a>(name: String, bytes: Cow<'a, [u8]>) -> Result<Stored<'a>, ReadErrorKind> {
    let damaged = |reason: String| ReadErrorKind::Damaged { format: Format::Npy, reason };
    let (header, start) = split_header(&bytes).map_err(damaged)?;
    let header = Header::parse(header).map_err(damaged)?;
    let Some((element, big_endian)) = element(&header.descr) else {
        return Err(ReadErrorKind::Element { array: name, found: format!("'{}'", header.descr) });
    };
    let layout = Layout { shape: header.shape, element, big_endian, column_major: header.fortran_order };
    let values = match bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[start..]),
        Cow::Owned(mut bytes) => Cow::Owned(bytes.split_off(start)),
    };
    Stored::new(name, layout, values).map_err(damaged)
}

/// A file of these little-endian values in C order.
pub(crate) fn write(shape: &[usize], values: &[u8], precision: Precision) -> Vec<u8> {
    let descr = match precision {
        Precision::F32 => "<f4",
        Precision::F16 => "<f2",
    };
    let shape = shape.iter().map(|side| format!("{side}, ")).collect::<String>();
    let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", shape.trim_end());
    let prefix = MAGIC.len() + 2 + 2;
    let n_header = (prefix + dict.len() + 1).next_multiple_of(ALIGNMENT) - prefix;
    let mut file = Vec::with_capacity(prefix + n_header + values.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&[1, 0]);
    file.extend_from_slice(&u16::try_from(n_header).expect("a header is short").to_le_bytes());
    file.extend_from_slice(dict.as_bytes());
    file.resize(prefix + n_header - 1, b' ');
    file.push(b'\n');
    file.extend_from_slice(values);
    file
}

/// The header's text and where the values start.
fn split_header(bytes: &[u8]) -> Result<(&str, usize), String> {
    let version = bytes.get(6..8).ok_or("the file ends within its first 8 bytes")?;
    let (start, n_header) = match (version, &bytes[8..]) {
        ([1, 0], &[a, b, ..]) => (10, u32::from(u16::from_le_bytes([a, b]))),
        ([2 | 3, 0], &[a, b, c, d, ..]) => (12, u32::from_le_bytes([a, b, c, d])),
        ([1..=3, 0], _) => return Err("the file ends within the header's length".into()),
        (version, _) => return Err(format!("version {}.{} is not known, expected 1.0 to 3.0", version[0], version[1])),
    };
    let n_header = n_header as usize;
    if n_header > MAX_HEADER {
        return Err(format!("the header has {n_header} bytes, expected at most {MAX_HEADER}"));
    }
    let end = start + n_header;
    let header =
        bytes.get(start..end).ok_or_else(|| format!("the header ends at {end}, the file at {}", bytes.len()))?;
    Ok((std::str::from_utf8(header).map_err(|error| format!("the header is not text: {error}"))?, end))
}

/// The element that a `descr` names and whether it is big-endian. bf16 has none: NumPy writes it as untyped bytes.
fn element(descr: &str) -> Option<(Element, bool)> {
    let (order, kind) = descr.split_at_checked(1)?;
    let element = match kind {
        "f2" => Element::F16,
        "f4" => Element::F32,
        "f8" => Element::F64,
        _ => return None,
    };
    match order {
        "<" => Some((element, false)),
        ">" => Some((element, true)),
        _ => None,
    }
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4, 64, 64), }`
#[derive(Debug, PartialEq)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    fn parse(text: &str) -> Result<Self, String> {
        let mut cursor = Cursor { rest: text };
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        cursor.expect("{")?;
        while !cursor.skip("}") {
            let key = cursor.string()?;
            cursor.expect(":")?;
            match key {
                "descr" => descr = Some(cursor.string()?.to_owned()),
                "fortran_order" => fortran_order = Some(cursor.boolean()?),
                "shape" => shape = Some(cursor.shape()?),
                _ => return Err(format!("the header has an unknown key '{key}'")),
            }
            if !cursor.skip(",") {
                cursor.expect("}")?;
                break;
            }
        }
        let missing = |key| format!("the header has no '{key}'");
        Ok(Header {
            descr: descr.ok_or_else(|| missing("descr"))?,
            fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
        })
    }
}

/// The few words of Python that a header is made of.
struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn skip(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_ascii_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.skip(token) { Ok(()) } else { Err(self.found(&format!("`{token}`"))) }
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let quote = ["'", "\""].into_iter().find(|quote| self.skip(quote)).ok_or_else(|| self.found("a string"))?;
        let (string, rest) = self.rest.split_once(quote).ok_or_else(|| self.found("the end of a string"))?;
        self.rest = rest;
        Ok(string)
    }

    fn boolean(&mut self) -> Result<bool, String> {
        if self.skip("True") {
            Ok(true)
        } else if self.skip("False") {
            Ok(false)
        } else {
            Err(self.found("True or False"))
        }
    }

    fn shape(&mut self) -> Result<Vec<usize>, String> {
        let mut shape = Vec::new();
        self.expect("(")?;
        while !self.skip(")") {
            let n_digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
            let (digits, rest) = self.rest.split_at(n_digits);
            shape.push(digits.parse().map_err(|_| self.found("the length of an axis"))?);
            self.rest = rest;
            if !self.skip(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(shape)
    }

    fn found(&self, expected: &str) -> String {
        let found: String = self.rest.chars().take(16).map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("the header has `{found}`, expected {expected}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(&str, bool, &[usize]), &str>) {
        let expected = expected
            .map(|(descr, fortran_order, shape)| Header { descr: descr.into(), fortran_order, shape: shape.into() })
            .map_err(String::from);
        assert_eq!(Header::parse(text), expected);
    }

    #[test]
    fn headers_as_numpy_and_others_write_them() {
        check(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4, 8, 8), }  \n",
            Ok(("<f4", false, &[1, 4, 8, 8])),
        );
        check("{\"shape\":(3,),\"descr\":\">f8\",\"fortran_order\":True}", Ok((">f8", true, &[3])));
        check("{'descr': '<f4', 'fortran_order': False, 'shape': ()}", Ok(("<f4", false, &[])));
    }

    #[test]
    fn other_headers_are_refused() {
        check("", Err("the header has ``, expected `{`"));
        check("{'descr': [('r', '<f4')]}", Err("the header has `[('r', '<f4')]}`, expected a string"));
        check("{'descr': '<f4', 'shape': (1,)}", Err("the header has no 'fortran_order'"));
        check("{'shape': (-1,)}", Err("the header has `-1,)}`, expected the length of an axis"));
        check(
            "{'shape': (99999999999999999999,)}",
            Err("the header has `9999999999999999`, expected the length of an axis"),
        );
        check("{'colour': 1}", Err("the header has an unknown key 'colour'"));
    }
}
