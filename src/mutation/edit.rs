//! Changes to a pod, one by one.
//!
//! A rule reads the pod as the review has it, and pushes its edits after those of earlier rules.
//! The patch applies them in this order. An index means an element of the pod as it was, so a rule
//! that inserts into an array comes after those that change its elements.

use super::{NewMount, NewVariable, NewVolume};

/// One change to a pod.
#[derive(Debug)]
pub enum Edit<'a> {
    /// Writes a value to a place.
    Set {
        /// The place. What is around it exists.
        place: Place<'a>,
        /// Whether the pod has a value there, which is replaced.
        exists: bool,
        /// The value.
        value: NewValue<'a>,
    },
    /// Inserts an item into an array that the pod has.
    Insert {
        /// The array.
        array: Array,
        /// The index of the element that the item stands before.
        index: usize,
        /// The item.
        item: NewValue<'a>,
    },
    /// Appends an item to an array.
    Append {
        /// The array.
        array: Array,
        /// Whether the pod has the array. If not, the patch creates it with all items at once.
        exists: bool,
        /// The item.
        item: NewValue<'a>,
    },
}

/// An array of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Array {
    /// `spec.volumes`.
    Volumes,
    /// `volumeMounts` of a container.
    VolumeMounts {
        /// The container's index in `spec.containers`.
        container: usize,
    },
    /// `env` of a container.
    Env {
        /// The container's index in `spec.containers`.
        container: usize,
    },
    /// `args` of a container.
    Args {
        /// The container's index in `spec.containers`.
        container: usize,
    },
}

/// A place in a pod that has one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// `metadata.annotations`.
    Annotations,
    /// The annotation with this key.
    Annotation(&'a str),
    /// The element of an array with this index.
    Element(Array, usize),
}

/// A value that an edit writes.
#[derive(Debug)]
pub enum NewValue<'a> {
    /// A volume of the pod.
    Volume(NewVolume<'a>),
    /// A mount of a container.
    Mount(NewMount<'a>),
    /// A variable of a container.
    Variable(NewVariable<'a>),
    /// A string.
    Text(&'a str),
    /// The plan's record, as a string.
    Record,
    /// An object with one entry: this key, and the plan's record.
    RecordUnder(&'a str),
}
