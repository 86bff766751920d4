//! From outboxes to the sinks' threads.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use tidewright_jobs::plan::{SinkInput, SinkPlan};
use timely::dataflow::Scope;
use timely::dataflow::operators::probe::{Handle as ProbeHandle, Probe};
use timely::scheduling::SyncActivator;

use super::{OutgoingSink, is_keyed, relation, stage_name};
use crate::runtime::activity::Stages;
use crate::runtime::context::JobContext;
use crate::runtime::deliver::{self, Deliver, Durable, Outgoing};
use crate::runtime::failure::fail;
use crate::runtime::local::Local;
use crate::sink::SinkContext;
use crate::sink::driver::{Driver, DriverOptions};
use crate::sink::open::open;

/// Starts the sinks' threads and puts the delivery operators into the dataflow.
pub fn deliver<'scope>(
    scope: Scope<'scope, u64>,
    context: &JobContext,
    outgoing: Vec<OutgoingSink>,
    durable: Durable<'scope>,
    local: &Local,
    stages: &Stages,
) -> Vec<(String, ProbeHandle<u64>)> {
    let mut probes = Vec::new();
    for OutgoingSink {
        sink,
        outgoing,
        schema,
        key,
        rows,
    } in outgoing
    {
        let activator = Arc::new(Mutex::new(None::<SyncActivator>));
        let elsewhere = matches!(outgoing, Outgoing::Elsewhere);
        let driver = (!elsewhere).then(|| start(context, &sink, schema, key, activator.clone()));
        if let Some(driver) = &driver {
            context.stats.sinks.add(&sink.name, driver.status());
        }
        let deliver = Deliver {
            outgoing,
            driver,
            rows,
            generation: context.generation,
            start: context.start,
            hold: context.hold.clone(),
            appended: context.stats.appended[&sink.name].clone(),
            delivered_rows: context.stats.sink_rows[&sink.name].clone(),
            earlier: context.earlier,
            local: local.clone(),
            is_last_resort: sink.input == SinkInput::DeadLetters,
            judge: context.tolerance.judge(&format!("sink {}", sink.name)),
            sink: sink.name.clone(),
        };
        let delivered = deliver::deliver(scope, deliver, durable.clone(), |made| {
            *activator.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
        });
        let probe = ProbeHandle::new();
        delivered.probe_with(&probe);
        stages.built(&scope, &stage_name(&sink.name));
        probes.push((sink.name, probe));
    }
    probes
}

fn start(
    context: &JobContext,
    sink: &SinkPlan,
    schema: SchemaRef,
    key: Vec<usize>,
    activator: Arc<Mutex<Option<SyncActivator>>>,
) -> Driver {
    let sink_context = SinkContext {
        job: context.plan.name.as_str().into(),
        sink: sink.name.as_str().into(),
        relation: relation(&context.plan, sink).into(),
        // A log has one writer, on worker 0.
        writer: 0,
        generation: context.generation,
        schema,
        key,
        table: is_keyed(&sink.config),
        stores: context.stores.clone(),
    };
    let writer = open(&sink.config, &sink_context)
        .unwrap_or_else(|error| fail(&format!("sink {}: {error}", sink.name)));
    let wake = move || {
        if let Some(activator) = &*activator.lock().unwrap_or_else(PoisonError::into_inner) {
            // A worker that is gone needs no waking.
            let _ = activator.activate();
        }
    };
    let delivered = context.delivered(&sink.name);
    let options = DriverOptions {
        sink: sink.name.as_str().into(),
        capacity: 1,
        delivered: (delivered.0 > 0).then_some(delivered),
        accept_lost_marker: context.allow_duplicates,
    };
    Driver::start(writer, context.fence.clone(), options, wake)
        .unwrap_or_else(|error| fail(&format!("sink {}: {error}", sink.name)))
}
