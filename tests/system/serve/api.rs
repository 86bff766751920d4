//! The REST API: its document, its rights, its problems.

use std::thread;

use serde_json::{Value, json};

use super::{counting, submission};
use crate::harness::{
    process::Command,
    server::{Reply, Server},
    services::require,
};
use crate::shop::LIMIT;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");

#[track_caller]
fn is_problem(reply: &Reply, status: u16, kind: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.media_type(), "application/problem+json", "{reply:?}");
    let body = &reply.body;
    assert_eq!(body["type"], format!("urn:tidewright:problem:{kind}"));
    assert_eq!(body["status"], status);
    for member in ["title", "detail"] {
        assert!(!body[member].as_str().unwrap().is_empty(), "{body}");
    }
}

/// A token of each role, the weakest first.
fn tokens(server: &Server) -> Vec<(String, String)> {
    let create = |role: &str| {
        let body = json!({ "name": format!("the-{role}"), "role": role });
        let reply = server.post("/v1/tokens", Some(&body));
        assert_eq!(reply.status, 201, "{reply:?}");
        let token = reply.body["token"].as_str().unwrap().to_owned();
        (role.to_owned(), token)
    };
    ["viewer", "operator", "admin"].map(create).into()
}

#[test]
fn the_document_is_the_golden_one() {
    let server = Server::start(&[], &[]);
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(DOCUMENT).unwrap()).unwrap();
    assert_eq!(server.get("/v1/openapi.json"), golden);
    assert_eq!(golden["openapi"], "3.1.0");
}

/// Goes by the document, so that no new route can be forgotten.
#[test]
fn every_route_refuses_a_missing_or_lesser_token() {
    let server = Server::start(&[], &[]);
    let tokens = tokens(&server);
    let document = server.get("/v1/openapi.json");
    let mut checked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let method = method.to_uppercase();
            let needed = operation["security"][0]["token"][0].as_str();
            let needed = needed.unwrap_or_else(|| panic!("{method} {path} demands no role"));
            let needed = tokens.iter().position(|(role, _)| role == needed).unwrap();
            let path = path.replace("{name}", "nobody").replace("{id}", "nothing");
            let body = operation.get("requestBody").map(|_| json!({}));
            let ask = |token: Option<&str>| server.ask(&method, &path, token, &[], body.as_ref());
            let missing = ask(None);
            is_problem(&missing, 401, "unauthorized");
            assert_eq!(missing.headers["www-authenticate"], "Bearer");
            is_problem(&ask(Some("nonsense")), 401, "unauthorized");
            for (number, (role, token)) in tokens.iter().enumerate() {
                let reply = ask(Some(token));
                if number < needed {
                    is_problem(&reply, 403, "forbidden");
                } else {
                    let refused = [401, 403].contains(&reply.status);
                    assert!(!refused, "{method} {path} refuses {role}: {reply:?}");
                    assert!(reply.status < 500, "{method} {path}: {reply:?}");
                }
                checked += 1;
            }
        }
    }
    assert!(checked >= 30, "only {checked} requests were made");
}

#[test]
fn a_revoked_token_is_worth_nothing_and_no_answer_shows_one() {
    let server = Server::start(&[], &[]);
    let tokens = tokens(&server);
    let (_, viewer) = &tokens[0];
    let list = || server.ask("GET", "/v1/jobs", Some(viewer), &[], None);
    assert_eq!(list().status, 200);
    let shown = server.get("/v1/tokens").to_string();
    assert!(tokens.iter().all(|(_, token)| !shown.contains(token)));
    let revoked = server.cli_json(&["token", "revoke", "the-viewer"]);
    assert_eq!(revoked["revoked"], "the-viewer");
    is_problem(&list(), 401, "unauthorized");
}

#[test]
fn a_wrong_job_file_changes_nothing_and_is_told_as_validate_tells_it() {
    let server = Server::start(&[], &[]);
    let wrong = counting("wrong", None).replace("user_id, count", "usr_id, count");
    let path = server.folder.path().join("wrong.yaml");
    std::fs::write(&path, &wrong).unwrap();
    let path = path.to_str().unwrap();
    let body = json!({ "file": wrong, "file_name": path });
    let reply = server.post("/v1/jobs", Some(&body));
    is_problem(&reply, 422, "invalid-job-file");
    let mistake = &reply.body["diagnostics"][0];
    assert_eq!(mistake["file"], path);
    assert!(mistake["line"].as_u64() > Some(1), "{mistake}");
    let message = mistake["message"].as_str().unwrap();
    assert!(message.contains("usr_id"), "{mistake}");
    let validate = Command::tidewright(server.folder.path())
        .args(["validate", path])
        .run(LIMIT);
    let mut submit = server.cli(&["submit", path]);
    assert_eq!(submit.status().unwrap().code(), Some(2));
    assert_eq!(submit.stderr(), validate.stderr());
    assert_eq!(server.get("/v1/jobs"), json!({ "jobs": [] }));
    assert!(!server.data().join("jobs/wrong").exists());
}

#[test]
fn two_submissions_with_one_key_make_one_job() {
    let server = Server::start(&[], &[]);
    let token = server.admin_token();
    let body = submission(&counting("once", None));
    let submit = |body: &Value| {
        let headers = [("idempotency-key", "the-key")];
        server.ask("POST", "/v1/jobs", Some(&token), &headers, Some(body))
    };
    let replies: Vec<_> = thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| submit(&body)));
        both.map(|reply| reply.join().unwrap()).into()
    });
    for reply in &replies {
        assert_eq!(reply.status, 201, "{reply:?}");
        assert_eq!(reply.headers["location"], "/v1/jobs/once");
        assert_eq!(reply.body["job"]["version"], 1);
    }
    server.await_state("once", "running");
    let late = submit(&body);
    assert_eq!(
        (late.status, &late.body["job"]["version"]),
        (201, &1.into())
    );
    let other = submit(&submission(&counting("other", None)));
    is_problem(&other, 422, "idempotency-key-reused");
    assert_eq!(server.get("/v1/jobs")["jobs"].as_array().unwrap().len(), 1);
}

#[test]
fn whatever_is_wrong_with_a_request_is_a_problem_document() {
    let server = Server::start(&[], &[]);
    let token = server.admin_token();
    let ask = |method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>| {
        server.ask(method, path, Some(&token), headers, body)
    };
    is_problem(&ask("GET", "/v1/nowhere", &[], None), 404, "not-found");
    is_problem(&ask("GET", "/v1/jobs/nobody", &[], None), 404, "not-found");
    is_problem(
        &ask("POST", "/v1/jobs/nobody/stop", &[], None),
        404,
        "not-found",
    );
    is_problem(
        &ask("GET", "/v1/operations/none", &[], None),
        404,
        "not-found",
    );
    let wrong_method = ask("DELETE", "/v1/jobs", &[], None);
    is_problem(&wrong_method, 405, "method-not-allowed");
    assert!(
        wrong_method.headers["allow"]
            .to_str()
            .unwrap()
            .contains("POST")
    );
    is_problem(
        &ask("POST", "/v1/jobs", &[], None),
        415,
        "unsupported-media-type",
    );
    let unknown = json!({ "file": "", "filename": "" });
    is_problem(
        &ask("POST", "/v1/jobs", &[], Some(&unknown)),
        422,
        "unprocessable",
    );
    let mut many = submission(&counting("many", None));
    many["workers"] = 0.into();
    is_problem(
        &ask("POST", "/v1/jobs", &[], Some(&many)),
        422,
        "unprocessable",
    );
    let large = json!({ "file": "#".repeat(2 << 20) });
    is_problem(
        &ask("POST", "/v1/jobs", &[], Some(&large)),
        413,
        "too-large",
    );
    let key = [("idempotency-key", "")];
    let body = submission(&counting("key", None));
    is_problem(
        &ask("POST", "/v1/jobs", &key, Some(&body)),
        400,
        "bad-request",
    );
    assert_eq!(server.get("/v1/jobs"), json!({ "jobs": [] }));
}

/// Hundreds of requests made from the document, sensible and not: the server does what the document says.
#[test]
fn the_server_keeps_to_its_document_whatever_it_is_asked() {
    let Some(schemathesis) = require("TIDEWRIGHT_TEST_SCHEMATHESIS") else {
        return;
    };
    let server = Server::start(&[], &[]);
    // So that some requests meet a job.
    let submitted = server.post("/v1/jobs", Some(&submission(&counting("job", None))));
    assert_eq!(submitted.status, 201, "{submitted:?}");
    let authorization = format!("Authorization: Bearer {}", server.admin_token());
    let mut process = Command::program(&schemathesis, server.folder.path())
        .args(["run", DOCUMENT, "--url", &server.url])
        .args(["--header", &authorization])
        .args(["--max-examples", "25", "--seed", "1", "--no-color"])
        // Whether a job file is right, and a place allowed, is no question of their schemas.
        .args(["--exclude-checks", "positive_data_acceptance"])
        // It would find its own token in the list and revoke it.
        .args(["--exclude-operation-id", "revokeToken"])
        .current_folder(server.folder.path())
        .start();
    let status = process.wait(LIMIT * 10);
    assert!(
        status.success(),
        "{}\n{}",
        process.stdout(),
        process.stderr()
    );
    assert_eq!(
        server.get("/v1/openapi.json")["openapi"],
        "3.1.0",
        "it still answers"
    );
}
