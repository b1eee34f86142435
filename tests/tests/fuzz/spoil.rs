//! Bytes that are nearly right.

use rand::rngs::StdRng;
use rand::{Rng, RngExt};

/// Random bytes, at most `most`.
pub fn noise(random: &mut StdRng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(0..=most)];
    random.fill_bytes(&mut bytes);
    bytes
}

/// One of some things.
pub fn pick<'a, T>(random: &mut StdRng, all: &'a [T]) -> &'a T {
    &all[random.random_range(0..all.len())]
}

/// Changes bytes in up to four ways; `other` lends a part of itself.
pub fn spoil(random: &mut StdRng, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..random.random_range(1..=4) {
        spoil_once(random, bytes, other);
    }
}

/// A spoilt copy.
pub fn spoilt(random: &mut StdRng, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    spoil(random, &mut copy, other);
    copy
}

fn spoil_once(random: &mut StdRng, bytes: &mut Vec<u8>, other: &[u8]) {
    if bytes.is_empty() {
        bytes.extend_from_slice(other);
        return;
    }
    let (from, to) = range(random, bytes.len());
    match random.random_range(0..11) {
        0 => bytes[from] ^= 1 << random.random_range(0..8),
        1 => bytes[from] = *pick(random, SPECIAL),
        2 => bytes.insert(from, *pick(random, SPECIAL)),
        3 => drop(bytes.drain(from..to)),
        4 => bytes.truncate(from),
        5 => {
            let part = bytes[from..to].to_vec();
            bytes.splice(to..to, part);
        }
        6 if !other.is_empty() => {
            let (first, last) = range(random, other.len());
            bytes.splice(from..to, other[first..last].iter().copied());
        }
        7 if !other.is_empty() => {
            let (first, _) = range(random, other.len());
            bytes.truncate(from);
            bytes.extend_from_slice(&other[first..]);
        }
        8 => change_line(random, bytes),
        9 if random.random_ratio(1, 8) => {
            let long = vec![*pick(random, SPECIAL); random.random_range(0..70_000)];
            bytes.splice(from..from, long);
        }
        _ => change_number(random, bytes),
    }
}

/// A range that is not empty, mostly a short one.
fn range(random: &mut StdRng, len: usize) -> (usize, usize) {
    let from = random.random_range(0..len);
    let most = if random.random() { 16 } else { len };
    (from, (from + random.random_range(1..=most)).min(len))
}

/// Puts a number at the edge of what fits some type in the place of one that is there.
fn change_number(random: &mut StdRng, bytes: &mut Vec<u8>) {
    let starts: Vec<usize> = (0..bytes.len())
        .filter(|at| bytes[*at].is_ascii_digit() && (*at == 0 || !bytes[at - 1].is_ascii_digit()))
        .collect();
    if starts.is_empty() {
        return;
    }
    let from = *pick(random, &starts);
    let rest = &bytes[from..];
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = pick(random, EDGES);
    bytes.splice(from..from + digits, number.bytes());
}

/// Doubles a line, takes one out, or moves it.
fn change_line(random: &mut StdRng, bytes: &mut Vec<u8>) {
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let at = random.random_range(0..lines.len());
    let to = random.random_range(0..lines.len());
    match random.random_range(0..3) {
        0 => lines.insert(to, lines[at]),
        1 => drop(lines.remove(at)),
        _ => lines.swap(at, to),
    }
    *bytes = lines.concat();
}

/// Cuts bytes into pieces at random places.
pub fn pieces<'a>(random: &mut StdRng, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let most = *pick(random, &[1, 2, 7, 40, 300, 5000]);
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(random.random_range(1..=most).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

const SPECIAL: &[u8] = b"\r\n\0\t \":;,<>@/=*-+$#%?[]0aM\xff\x80\xc3\x7f";
const EDGES: &[&str] = &[
    "0",
    "00",
    "1",
    "-1",
    "9",
    "255",
    "256",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "*",
    "",
];
