//! The measures against scikit-image, and the words that follow from numbers.

mod report;
mod scikit_image;
mod support;
mod verdict;
