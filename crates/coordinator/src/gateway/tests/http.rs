use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use serde_json::{Value, json};

use super::world::{World, account, file, request};

const CHAIN: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#;

#[tokio::test]
async fn ids_come_back_exactly_as_they_were_written() {
    let running = World::new().start();
    for id in [
        "1",
        "-7",
        "1.50",
        "123456789012345678901234567890",
        "\"abc\"",
        "\"\\u0041\"",
        "null",
    ] {
        let call = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"eth_chainId","params":[]}}"#);
        let request = request().body(Body::from(call)).unwrap();

        let response = running.send(request).await;

        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let expected = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"0x1"}}"#);
        assert_eq!(String::from_utf8(body.to_vec()).unwrap(), expected);
    }
}

#[tokio::test]
async fn a_batch_is_answered_in_its_order_and_without_its_notifications() {
    let running = World::new().start();
    let batch = json!([
        { "jsonrpc": "2.0", "id": "a", "method": "eth_chainId" },
        { "jsonrpc": "2.0", "method": "eth_sign", "params": [account("m"), "0x00"] },
        { "jsonrpc": "2.0", "id": 2, "method": "no_such" },
        5,
    ]);

    let (status, answers) = running.post(batch).await;

    assert_eq!(status, StatusCode::OK);
    let codes: Vec<_> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|a| &a["error"]["code"])
        .collect();
    assert_eq!(codes, [&Value::Null, &json!(-32601), &json!(-32600)]);
    assert_eq!(answers[0]["id"], "a");
    assert_eq!(answers[2]["id"], Value::Null);
    // Nobody would have got what was signed.
    assert!(running.commands().is_empty());
}

#[tokio::test]
async fn the_answers_to_a_batch_are_bounded_together() {
    let running = World::with_upstream().start();
    let large = json!("0".repeat(3 << 20));
    running.world.upstream.answers("eth_getLogs", Ok(large));
    let calls: Vec<_> = (0..5)
        .map(|id| json!({ "jsonrpc": "2.0", "id": id, "method": "eth_getLogs", "params": [] }))
        .collect();

    let (_, answers) = running.post(json!(calls)).await;

    let answers = answers.as_array().unwrap();
    let done = answers.iter().filter(|a| a["result"].is_string()).count();
    assert_eq!((answers.len(), done), (5, 3));
    assert_eq!(answers[4]["id"], 4);
    assert_eq!(answers[4]["error"]["code"], -32000);
    assert_eq!(running.world.upstream.called("eth_getLogs").len(), 3);
}

#[tokio::test]
async fn notifications_alone_have_no_answer() {
    let running = World::new().start();
    let notification = r#"{"jsonrpc":"2.0","method":"eth_chainId"}"#;

    for body in [notification.to_owned(), format!("[{notification}]")] {
        assert_eq!(
            running.post(body).await,
            (StatusCode::NO_CONTENT, Value::Null)
        );
    }
}

#[tokio::test]
async fn what_is_no_call_is_refused_with_its_code() {
    let mut world = World::new();
    world.config.max_batch = 2;
    let running = world.start();
    for (body, code) in [
        ("{".to_owned(), -32700),
        (String::new(), -32700),
        (format!("{CHAIN}x"), -32700),
        ("[]".to_owned(), -32600),
        ("7".to_owned(), -32600),
        (r#"{"id":1,"method":"eth_chainId"}"#.to_owned(), -32600),
        (
            r#"{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}"#.to_owned(),
            -32600,
        ),
        (r#"{"jsonrpc":"2.0","id":1}"#.to_owned(), -32600),
        (
            r#"{"jsonrpc":"2.0","id":[1],"method":"eth_chainId"}"#.to_owned(),
            -32600,
        ),
        (
            r#"{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}"#.to_owned(),
            -32600,
        ),
        (format!("[{CHAIN},{CHAIN},{CHAIN}]"), -32600),
    ] {
        let (status, answer) = running.post(&body).await;

        assert_eq!(
            (status, &answer["error"]["code"]),
            (StatusCode::OK, &json!(code)),
            "{body}"
        );
        assert_eq!(answer["id"], Value::Null);
    }
}

#[tokio::test]
async fn only_names_of_this_machine_are_answered() {
    let mut world = World::new();
    world.config.hosts = vec!["gateway.internal".to_owned()];
    let running = world.start();
    let status = async |host: &str| {
        let request = Request::post("/")
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json");
        running
            .send(request.body(Body::from(CHAIN)).unwrap())
            .await
            .status()
    };

    for ours in [
        "localhost",
        "LOCALHOST:8545",
        "127.0.0.1:8545",
        "[::1]:8545",
        "10.1.2.3",
        "gateway.internal:80",
    ] {
        assert_eq!(status(ours).await, StatusCode::OK, "{ours}");
    }
    for others in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:8545",
        "notlocalhost",
        "",
        "[evil.example]",
    ] {
        assert_eq!(status(others).await, StatusCode::FORBIDDEN, "{others}");
    }
    let nameless = Request::post("/")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(CHAIN))
        .unwrap();
    assert_eq!(running.send(nameless).await.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn pages_of_browsers_are_not_served_and_never_allowed() {
    let running = World::new().start();
    let page = |request: axum::http::request::Builder| {
        request
            .header(header::ORIGIN, "https://evil.example")
            .body(Body::from(CHAIN))
            .unwrap()
    };

    let posted = running.send(page(request())).await;
    let mut preflight = page(request());
    *preflight.method_mut() = axum::http::Method::OPTIONS;
    let preflight = running.send(preflight).await;
    let plain = Request::post("/")
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "text/plain")
        .body(Body::from(CHAIN));
    let plain = running.send(plain.unwrap()).await;
    let good = running
        .send(request().body(Body::from(CHAIN)).unwrap())
        .await;

    assert_eq!(posted.status(), StatusCode::FORBIDDEN);
    assert_eq!(preflight.status(), StatusCode::FORBIDDEN);
    assert_eq!(plain.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    for response in [posted, preflight, plain, good] {
        let mut names = response.headers().keys();
        assert!(!names.any(|name| name.as_str().starts_with("access-control")));
    }
}

#[tokio::test]
async fn other_ways_and_places_are_not_served() {
    let running = World::new().start();
    let of = |method: &str, uri: &str, kind: &str| {
        Request::builder()
            .method(method)
            .uri(uri)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, kind)
            .body(Body::from(CHAIN))
            .unwrap()
    };

    let with_charset = running
        .send(of("POST", "/", "application/json; charset=utf-8"))
        .await;
    let get = running.send(of("GET", "/", "application/json")).await;
    let elsewhere = running.send(of("POST", "/admin", "application/json")).await;

    assert_eq!(with_charset.status(), StatusCode::OK);
    assert_eq!(get.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(elsewhere.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_token_is_asked_of_every_caller() {
    let (_dir, token_file) = file("0123456789abcdef0123456789abcdef\n", 0o600);
    let mut world = World::new();
    world.config.token_file = Some(token_file);
    let running = world.start();
    let status = async |shown: Option<&str>| {
        let mut request = request();
        if let Some(shown) = shown {
            request = request.header(header::AUTHORIZATION, shown);
        }
        running
            .send(request.body(Body::from(CHAIN)).unwrap())
            .await
            .status()
    };

    for good in [
        "Bearer 0123456789abcdef0123456789abcdef",
        "bearer 0123456789abcdef0123456789abcdef",
    ] {
        assert_eq!(status(Some(good)).await, StatusCode::OK);
    }
    for bad in [
        None,
        Some("Bearer 0123456789abcdef0123456789abcdee"),
        Some("Bearer 0123456789abcdef"),
        Some("Bearer "),
        Some("0123456789abcdef0123456789abcdef"),
        Some("Basic 0123456789abcdef0123456789abcdef"),
    ] {
        assert_eq!(status(bad).await, StatusCode::UNAUTHORIZED, "{bad:?}");
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused() {
    let mut world = World::new();
    world.config.max_request_bytes = 100;
    let running = world.start();

    let (small, _) = running.post(CHAIN).await;
    let (large, _) = running.post(format!("{CHAIN}{}", " ".repeat(100))).await;

    assert_eq!(
        (small, large),
        (StatusCode::OK, StatusCode::PAYLOAD_TOO_LARGE)
    );
}

#[tokio::test]
async fn more_requests_than_there_is_room_for_are_refused() {
    let mut world = World::new();
    world.config.max_requests = 1;
    let running = world.start();
    // A request whose bytes never come to an end.
    let (writer, reader) = tokio::io::duplex(16);
    let endless = tokio_stream::StreamExt::map(tokio_stream::once(reader), |_| {
        Ok::<_, std::io::Error>(axum::body::Bytes::new())
    });
    let pending = Body::from_stream(tokio_stream::StreamExt::chain(
        endless,
        tokio_stream::pending(),
    ));
    let first = running.send(request().body(pending).unwrap());
    tokio::pin!(first);

    let second = tokio::select! {
        biased;
        _ = &mut first => panic!("it has no end"),
        second = running.post(CHAIN) => second,
    };

    assert_eq!(second.0, StatusCode::SERVICE_UNAVAILABLE);
    drop(writer);
}
