//! `/decisions` in a real browser: whatever a pod is called, it is text there.

use std::process::Command;

use serde_json::{Value, json};
use testkit::http::{connect, exchange, post};
use testkit::webhook::Webhook;

/// Names by which a page could be taken over, and one that looks as if it were escaped already.
const HOSTILE: [&str; 6] = [
    "<script>document.title='taken over'</script>",
    "<img src=x onerror=\"document.title='taken over'\">",
    "</td></tr></table><h1>taken over</h1>",
    "</title><svg/onload=document.title='taken&#32;over'>",
    "\"' onmouseover='x",
    "&lt;b&gt;&amp;#60;",
];

#[tokio::test]
async fn names_are_text_in_a_browser() {
    let webhook = Webhook::start(&[]);
    let review: Value =
        serde_json::from_slice(&std::fs::read("examples/driver-review.json").unwrap()).unwrap();
    for name in HOSTILE {
        let mut review = review.clone();
        let request = &mut review["request"];
        request["namespace"] = json!(name);
        request["object"]["metadata"]["name"] = json!(name);
        request["object"]["metadata"]["annotations"]["spark-operator.k8s.io/configMap.app"] =
            json!(format!("/{name}"));
        let reply =
            exchange(&mut connect(webhook.address()).await, &post(review.to_string().as_bytes()))
                .await;
        assert_eq!(reply.status, 200);
    }
    let page = format!("http://{}/decisions", webhook.admin_address());
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=2000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(&page)
        .output()
        .unwrap();
    let dom = String::from_utf8(output.stdout).unwrap();
    assert!(
        dom.contains("<title>spark-webhook: decisions</title>"),
        "{dom}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(dom.matches("<tr>").count(), 1 + HOSTILE.len(), "{dom}");
    for element in ["<script", "<img", "<svg", "<h1>taken"] {
        assert!(!dom.contains(element), "{element} in {dom}");
    }
    // As the browser writes text down.
    for name in
        HOSTILE.map(|name| name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))
    {
        assert_eq!(
            dom.matches(&format!("<td>{name}</td>")).count(),
            2,
            "{name} as namespace and as pod in {dom}"
        );
    }
}
