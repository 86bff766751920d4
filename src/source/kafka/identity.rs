//! Asking the brokers for a topic's id, which the client library's Rust side does not know: a few calls of librdkafka.

use std::{
    ffi::{CStr, CString},
    ptr::{self, NonNull},
    time::Duration,
};

use rdkafka::{
    bindings::{
        rd_kafka_AdminOptions_destroy, rd_kafka_AdminOptions_new, rd_kafka_AdminOptions_set_broker,
        rd_kafka_AdminOptions_set_request_timeout, rd_kafka_DescribeTopics,
        rd_kafka_DescribeTopics_result_topics, rd_kafka_TopicCollection_destroy,
        rd_kafka_TopicCollection_of_topic_names, rd_kafka_TopicDescription_error,
        rd_kafka_TopicDescription_topic_id, rd_kafka_Uuid_base64str, rd_kafka_admin_op_t,
        rd_kafka_error_code, rd_kafka_event_DescribeTopics_result, rd_kafka_event_destroy,
        rd_kafka_event_error, rd_kafka_event_t, rd_kafka_queue_destroy, rd_kafka_queue_new,
        rd_kafka_queue_poll,
    },
    consumer::Consumer as _,
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};

use super::client::{Consumer, REQUEST_TIMEOUT};

/// What brokers say that give their topics no ids.
const NONE: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// A topic's id, asked of this broker; `None` if the brokers are too old to have one.
///
/// # Errors
/// If they do not answer, or do not have the topic.
pub(super) fn topic_id(
    consumer: &Consumer,
    topic: &str,
    broker: i32,
) -> Result<Option<String>, String> {
    match ask(consumer, topic, broker) {
        Ok(id) => Ok(id.filter(|id| id != NONE)),
        Err(RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion) => {
            Ok(None)
        }
        Err(error) => Err(format!("no answer about the id of topic {topic}: {error}")),
    }
}

/// Something of librdkafka's that must be given back.
struct Owned<T> {
    value: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    fn new(value: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Result<Self, RDKafkaErrorCode> {
        let value = NonNull::new(value).ok_or(RDKafkaErrorCode::Fail)?;
        Ok(Self { value, destroy })
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: made by the function that belongs to `destroy`, and destroyed once.
        unsafe { (self.destroy)(self.value.as_ptr()) }
    }
}

fn ask(consumer: &Consumer, topic: &str, broker: i32) -> Result<Option<String>, RDKafkaErrorCode> {
    let client = consumer.client().native_ptr();
    let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
    let mut names = [name.as_ptr()];
    let milliseconds = |time: Duration| i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client outlives this function, the names are C strings that the collection copies, and each value
    // is destroyed with its own function, in the order opposite to that of their making. No error text is asked for.
    let event = unsafe {
        let topics = Owned::new(
            rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()),
            rd_kafka_TopicCollection_destroy,
        )?;
        let options = Owned::new(
            rd_kafka_AdminOptions_new(
                client,
                rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            ),
            rd_kafka_AdminOptions_destroy,
        )?;
        rd_kafka_AdminOptions_set_request_timeout(
            options.value.as_ptr(),
            milliseconds(REQUEST_TIMEOUT),
            ptr::null_mut(),
            0,
        );
        rd_kafka_AdminOptions_set_broker(options.value.as_ptr(), broker, ptr::null_mut(), 0);
        let queue = Owned::new(rd_kafka_queue_new(client), rd_kafka_queue_destroy)?;
        rd_kafka_DescribeTopics(
            client,
            topics.value.as_ptr(),
            options.value.as_ptr(),
            queue.value.as_ptr(),
        );
        // The request times out by itself and then answers so: a little more patience sees that.
        let patience = milliseconds(REQUEST_TIMEOUT + Duration::from_secs(1));
        let event = rd_kafka_queue_poll(queue.value.as_ptr(), patience);
        Owned::new(event, rd_kafka_event_destroy)
            .map_err(|_| RDKafkaErrorCode::OperationTimedOut)?
    };
    // SAFETY: the event is alive until the end of this function.
    unsafe { read(event.value.as_ptr()) }
}

fn checked(error: RDKafkaRespErr) -> Result<(), RDKafkaErrorCode> {
    match error {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        error => Err(error.into()),
    }
}

/// # Safety
/// `event` must be a live event.
unsafe fn read(event: *mut rd_kafka_event_t) -> Result<Option<String>, RDKafkaErrorCode> {
    // SAFETY: the event is alive by this function's contract, and everything below points into it: an array of as many
    // descriptions as `count` says, their errors and ids, and the id's text, which is NUL-terminated and copied.
    unsafe {
        checked(rd_kafka_event_error(event))?;
        let result = rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err(RDKafkaErrorCode::Fail);
        }
        let mut count = 0;
        let topics = rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if topics.is_null() || count == 0 {
            return Err(RDKafkaErrorCode::UnknownTopicOrPartition);
        }
        let topic = *topics;
        let error = rd_kafka_TopicDescription_error(topic);
        if !error.is_null() {
            checked(rd_kafka_error_code(error))?;
        }
        let id = rd_kafka_TopicDescription_topic_id(topic);
        if id.is_null() {
            return Ok(None);
        }
        let text = rd_kafka_Uuid_base64str(id);
        if text.is_null() {
            return Ok(None);
        }
        Ok(Some(CStr::from_ptr(text).to_string_lossy().into_owned()))
    }
}
