//! The tests on real kube-apiservers: each module has a control plane of its own, so that the
//! webhooks and policies of one never meet the pods of another.

mod admission;
mod chart;
mod doctor;
mod managed;
mod neighbours;
mod policy;
mod spark;
