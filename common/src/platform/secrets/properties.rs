//! Any text of a database secret gives a URL or `None`.

use proptest::prelude::*;
use serde_json::json;
use sqlx::postgres::PgConnectOptions;

use super::*;
use crate::properties::{cases, json, text};

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_secret_gives_a_postgres_url_or_none(
        text in text(),
        json in json(&["username", "password", "host", "port", "dbname"]),
    ) {
        for secret in [text, json.to_string()] {
            let url = database_url(SecretString::from(secret.clone()), DatabaseLocation::default());
            prop_assert!(url.is_none_or(|url| url.expose_secret().starts_with("postgres")), "{}", secret);
        }
    }

    #[test]
    fn user_and_password_of_an_rds_secret_reach_the_connection_unchanged(
        user in "[^\\x00]{1,12}",
        password in "[^\\x00]{1,24}",
        port in proptest::option::of(1..=u16::MAX),
        database in "[a-z_][a-z0-9_]{0,12}",
    ) {
        let secret = json!({
            "username": &user, "password": &password, "host": "db.local", "port": port, "dbname": &database,
        });
        let url = database_url(SecretString::from(secret.to_string()), DatabaseLocation::default()).unwrap();
        let options: PgConnectOptions = url.expose_secret().parse().unwrap();
        // `PgConnectOptions` does not expose the password, so it is read from the URL.
        let url = reqwest::Url::parse(url.expose_secret()).unwrap();
        let decoded = percent_encoding::percent_decode_str(url.password().unwrap());
        prop_assert_eq!(decoded.decode_utf8().unwrap(), password);
        prop_assert_eq!(options.get_username(), user);
        prop_assert_eq!(options.get_host(), "db.local");
        prop_assert_eq!(options.get_port(), port.unwrap_or(5432));
        prop_assert_eq!(options.get_database(), Some(&*database));
    }
}
