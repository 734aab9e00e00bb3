#![allow(clippy::unwrap_used)]

use super::*;

const FILE: &str = "[server]\nlisten = \"127.0.0.1:7\"\n[ingest.webhook_secrets]\nincidents = \"correct horse\"\n[ingest.write_tokens]\nprometheus-a = \"battery staple\"\n\
    [log.kafka]\nsasl.username = \"reader\"\nsasl.password = \"pony\"\nssl.key.pem = \"zebra\"\n";

fn document(text: &str) -> Document {
    let mut document = Document::reference().unwrap();
    document.overlay("afferent.toml", text).unwrap();
    document
}

#[test]
fn secrets_are_masked_and_their_names_stay() {
    let text = render(&document(FILE));
    assert!(!text.contains("horse") && !text.contains("staple"), "{text}");
    assert!(!text.contains("pony") && !text.contains("zebra") && text.contains("\"reader\""), "{text}");
    assert!(text.contains("incidents = \"********\"") && text.contains("prometheus-a = \"********\""), "{text}");
}

#[test]
fn errors_about_secrets_do_not_show_them() {
    let mut document = Document::reference().unwrap();
    for text in ["[ingest]\nwrite_tokens = \"horse\"\n", "[ingest.write_tokens]\na = [\"horse\"]\n", "[ingest.write_tokens]\na = \"horse\n"] {
        let error = document.overlay("afferent.toml", text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("horse"), "{error:?}");
    }
    document.overlay("afferent.toml", "[ingest.webhook_secrets]\nnobody = \"horse\"\n").unwrap();
    let error = config::Config::validate(&document).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("horse"), "{error:?}");
    let known = document_with_secret();
    assert!(!format!("{known:?}").contains("horse"), "{known:?}");
}

fn document_with_secret() -> config::Config {
    config::Config::validate(&document(FILE)).unwrap()
}

#[test]
fn what_is_printed_is_a_configuration_again() {
    let printed = render(&document(FILE));
    let again = render(&document(&printed));
    let bare = |text: &str| text.lines().map(|l| l.split("  # ").next().unwrap_or_default().to_owned()).collect::<Vec<_>>();
    assert_eq!(bare(&printed), bare(&again));
    assert!(printed.contains("listen = \"127.0.0.1:7\"  # afferent.toml:2"), "{printed}");
}
