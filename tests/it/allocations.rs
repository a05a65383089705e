//! How often and how much one admission allocates: counts, unlike times, are the same on every
//! machine. Each thread has counts of its own, so the tests that run at the same time do not
//! disturb them.

use std::fs;
use std::hint::black_box;

use spark_webhook::admission::{Settings, admit};
use spark_webhook::server::memory::admission;
use testkit::hostile;

#[test]
fn an_admission_allocates_no_more_than_so_often() {
    for (case, most) in [
        ("conf-dirs.spark-4.1.driver", 60),
        ("kubeflow-operator.spark-3.5.driver", 60),
        ("all-kinds.spark-3.5.driver", 80),
        ("no-annotations.spark-3.5.driver", 20),
    ] {
        let body = fs::read(format!("tests/golden/{case}.json")).unwrap();
        let counted = allocation_counter::measure(|| {
            black_box(admit(&body, &Settings::default()).unwrap().response);
        });
        assert!(
            counted.count_total <= most,
            "{case}: {} allocations, at most {most}",
            counted.count_total
        );
    }
}

#[test]
fn an_admission_allocates_no_more_than_the_budget_has_for_it() {
    for (shape, size) in
        hostile::SHAPES.iter().flat_map(|shape| [(shape, 256 << 10), (shape, 7 << 20)])
    {
        let body = shape.review(size);
        let counted = allocation_counter::measure(|| {
            let _ = black_box(admit(&body, &Settings::default()));
        });
        let most = admission(body.len()) as u64;
        assert!(
            counted.bytes_max <= most,
            "{} of {size}: {} bytes, at most {most}",
            shape.name,
            counted.bytes_max
        );
    }
}
