//! Interactions, over the gateway and over an endpoint.

use std::sync::atomic::Ordering;

use http_body_util::BodyExt;
use livos_core::queue::Queue;
use serde_json::{Value, json};
use tokio::time::sleep;
use tower::ServiceExt;

use super::*;
use crate::{
    discord::{JobConfig, interactions},
    webhook,
};

impl House {
    fn interaction(&self, id: u64) -> twin::InteractionRecord {
        self.twin.interaction(id).unwrap()
    }

    /// The only job.
    fn event(&self) -> Event {
        let payloads = self.queue.payloads();
        assert_eq!(payloads.len(), 1);
        Event::from_bytes(&payloads[0]).unwrap()
    }

    /// The endpoint as it is mounted.
    fn endpoint(
        &self,
    ) -> impl Service<Request<Full<Bytes>>, Response = Response<Full<Bytes>>, Error = BoxError> + Clone {
        let queue: Arc<dyn Queue> = Arc::clone(&self.queue) as _;
        let keys = [self.twin.public_key()];
        let endpoint = interactions(keys, JobConfig::default(), queue, self.clock).unwrap();
        let full = |response: Response<webhook::Body>| response.map(|body| Full::new(body.into_bytes()));
        service_fn(move |request: Request<Full<Bytes>>| {
            let endpoint = endpoint.clone();
            async move { Ok(endpoint.oneshot(request).await.map(full)?) }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_is_deferred_at_once_and_answered_when_the_agent_is_done() {
    let house = House::new();
    let _running = house.started().await;
    let id = house.twin.command(twin::CHANNEL, twin::ANNA, "ask", &[("question", "why?")]);
    house.until_texts(&["/ask why?"]).await;
    assert_eq!(house.interaction(id).response, Some(json!({ "type": 5 })));
    sleep(Duration::from_secs(840)).await;
    let text = "Because. ".repeat(500);
    house.answer(&house.event(), &text).await.unwrap();
    let record = house.interaction(id);
    assert_eq!(record.follow_ups.len(), 2);
    assert!(record.original.is_some_and(|text| text.starts_with("Because.")));
    assert_eq!(house.twin.said_by_bot(twin::CHANNEL), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_longer_than_its_interaction_grows_on_as_a_message() {
    let house = House::new();
    let _running = house.started().await;
    let id = house.twin.command(twin::CHANNEL, twin::ANNA, "ask", &[]);
    house.until_texts(&["/ask"]).await;
    let pieces = ["This will take me ", "a little while. ", "Here it is: ", "forty-two."];
    house.answer_slowly(&house.event(), &pieces, Duration::from_secs(400)).await.unwrap();
    assert_eq!(house.interaction(id).original, Some(pieces.concat()));
}

#[tokio::test(start_paused = true)]
async fn after_a_quarter_of_an_hour_the_answer_is_a_message() {
    let house = House::new();
    let _running = house.started().await;
    house.twin.command(twin::CHANNEL, twin::ANNA, "ask", &[]);
    house.until_texts(&["/ask"]).await;
    sleep(Duration::from_secs(880)).await;
    house.answer(&house.event(), "at last").await.unwrap();
    assert_eq!(house.twin.said_by_bot(twin::CHANNEL), ["at last"]);
}

#[tokio::test(start_paused = true)]
async fn an_interaction_whose_process_was_killed_is_answered_all_the_same() {
    let house = House::new();
    house.started().await.kill().await;
    let id = house.twin.command(twin::CHANNEL, twin::ANNA, "ask", &[]);
    sleep(Duration::from_secs(10)).await;
    let _running = house.started().await;
    house.until_texts(&["/ask"]).await;
    assert_eq!(house.interaction(id).response, None, "it was too late for a deferral, which was not tried");
    house.answer(&house.event(), "here").await.unwrap();
    assert_eq!(house.twin.said_by_bot(twin::CHANNEL), ["here"]);
}

#[tokio::test(start_paused = true)]
async fn an_ephemeral_deferral_says_so() {
    let mut house = House::new();
    house.config.jobs.ephemeral = true;
    let _running = house.started().await;
    let id = house.twin.command(twin::CHANNEL, twin::ANNA, "ask", &[]);
    house.until_texts(&["/ask"]).await;
    assert_eq!(house.interaction(id).response, Some(json!({ "type": 5, "data": { "flags": 64 } })));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_answers_at_once_and_a_repetition_is_no_second_job() {
    let house = House::new();
    let answered = house
        .twin
        .post_command(house.endpoint(), twin::CHANNEL, "ask", &[("question", "why?")])
        .await
        .unwrap();
    assert_eq!(answered.response, json!({ "type": 5 }));
    assert_eq!(house.texts(), ["/ask why?"]);
    house.answer(&house.event(), "because").await.unwrap();
    assert_eq!(house.interaction(answered.id).original.as_deref(), Some("because"));

    let Event::Interaction(interaction) = house.event() else { panic!("it is one") };
    let again = json!({
        "id": interaction.id, "application_id": interaction.application, "type": 2, "token": "x", "data": { "name": "ask" },
    });
    let response = house.endpoint().oneshot(house.twin.signed(&again)).await.unwrap();
    let body: Value =
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!((body, house.texts().len()), (json!({ "type": 5 }), 1));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_whose_queue_is_full_says_so_and_promises_nothing() {
    let house = House::new();
    house.queue.full.store(true, Ordering::Relaxed);
    let answered = house.twin.post_command(house.endpoint(), twin::CHANNEL, "ask", &[]).await.unwrap();
    assert_eq!((&answered.response["type"], &answered.response["data"]["flags"]), (&json!(4), &json!(64)));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_answers_a_ping_and_refuses_what_is_no_interaction() {
    let house = House::new();
    let ping = json!({ "id": "1", "application_id": "2", "type": 1, "token": "t" });
    let response = house.endpoint().oneshot(house.twin.signed(&ping)).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), r#"{"type":1}"#);
    let typed =
        json!({ "id": "2", "application_id": "2", "type": 4, "token": "t", "data": { "name": "ask" } });
    let response = house.endpoint().oneshot(house.twin.signed(&typed)).await.unwrap();
    let choices = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(choices, r#"{"data":{"choices":[]},"type":8}"#);
    let response = house.endpoint().oneshot(house.twin.signed(&json!({ "type": 2 }))).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(house.texts(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_passes_the_probe_that_discord_makes_of_it() {
    let house = House::new();
    house.twin.probe(house.endpoint()).await.unwrap();
}
