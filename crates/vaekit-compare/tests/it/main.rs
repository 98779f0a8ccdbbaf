//! The measures against scikit-image, and the words that follow from numbers.

mod scikit_image;
