//! How often one admission allocates: a count, unlike a time, is the same on every machine.

use std::fs;
use std::hint::black_box;

use spark_webhook::admission::{Policy, admit};

#[test]
fn an_admission_allocates_no_more_than_so_often() {
    for (case, most) in [("plain-41-driver", 60), ("kubeflow-35-driver", 60), ("ctr1-35-driver", 80), ("noann-35-driver", 20)] {
        let body = fs::read(format!("tests/golden/{case}.json")).unwrap();
        let counted = allocation_counter::measure(|| {
            black_box(admit(&body, &Policy::default()).unwrap().response);
        });
        assert!(counted.count_total <= most, "{case}: {} allocations, at most {most}", counted.count_total);
    }
}
