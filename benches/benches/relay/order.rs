//! An order on its way to a worker and back.

use criterion::Criterion;
use dataplane::api::{Act, Doorbell, Event, ring_pair};

use crate::calls;

pub(crate) fn round_trip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("order");
    let bell = Doorbell::new().expect("a descriptor is free");
    let (mut control, mut worker) = ring_pair(&bell).expect("a descriptor is free");
    let mut order = Some(calls::order(1, Vec::new()));
    group.bench_function("rings", |bencher| {
        bencher.iter(|| {
            if let Some(order) = order.take() {
                control.order(order).expect("the ring has room");
            }
            if let Some(taken) = worker.order() {
                worker.tell(Event::Done(taken)).expect("the ring has room");
            }
            if let Some(Event::Done(back)) = control.news() {
                order = Some(back);
            }
        });
    });
    assert!(order.is_some(), "it came back");
    for (name, backend) in calls::backends() {
        let mut handle = calls::started(backend);
        calls::done(&mut handle, 1, vec![calls::open()]);
        group.bench_function(format!("to a sleeping worker, {name}"), |bencher| {
            bencher.iter(|| {
                let report = Act::Report { facts: Vec::new() };
                calls::done(&mut handle, 1, vec![report])
            });
        });
        calls::ended(handle);
    }
    group.finish();
}
