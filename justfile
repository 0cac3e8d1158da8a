# Short names for the commands of this repository. `just` lists them.
# Every recipe calls what `.ci/run` calls, so a local result is the result of CI.

set positional-arguments

# Lists the recipes.
default:
    @just --list --unsorted

# Runs Parlor on http://127.0.0.1:9000 with demo data. Arguments are those of `serve`.
serve *arguments:
    cargo run -- serve "$@"

# Runs parlor-server on the database at DATABASE_URL. Arguments are its own.
server *arguments:
    cargo run --bin parlor-server -- "$@"

# Assembles and runs the content of the container image of a release build, at DATABASE_URL.
image:
    cargo build --release --package server --bin parlor-server
    .ci/image

# Prints a token for a user, valid 12 hours.
token user="1001":
    @cargo run --quiet -- token "$1"

# Formats all Rust sources.
fmt:
    cargo fmt

# Checks formatting and lints. Takes a minute or two; run it before every commit.
check:
    cargo fmt --check
    cargo clippy --workspace --all-targets -- -D warnings
    .ci/requests --check

# Runs all tests, or those that the arguments select: `just test -p local --test it -- chat_send::`.
test *arguments="--workspace":
    cargo test "$@"

# Takes the pictures of the documentation in Chromium. Needs Chromium, npm and Chinese fonts.
screenshots:
    mkdir -p docs/pictures
    PICTURES="$PWD/docs/pictures" cargo test -p local --test it -- --nocapture console::browser

# Runs everything that CI runs. About 20 minutes on two cores.
ci:
    .ci/run

# Runs all benchmarks, or those named: `just bench first-token relay`. The first run links for 15 minutes.
bench *subjects:
    cargo bench -p local -- "$@"

# The recipes below use the `local` of the last build, because nothing compiles until `.sqlx` is up
# to date. Run `cargo build` once in a fresh clone.

# Writes `.sqlx` after a changed statement or migration.
prepare:
    target/debug/local with-database -- .ci/prepare-queries

# Fails if `.sqlx` is stale.
prepare-check:
    target/debug/local with-database -- .ci/prepare-queries --check

# Checks all SQL functions with plpgsql_check.
sql:
    target/debug/local with-database -- .ci/check-functions

# Applies the migrations and loads the SQL functions at DATABASE_URL.
migrate:
    cargo run -- migrate

# Writes openapi.json from the routers, and the request collection from openapi.json.
openapi:
    mkdir -p target
    cargo run --quiet -- openapi > target/openapi.json
    mv target/openapi.json openapi.json
    .ci/requests

# Writes docs/requests.http from openapi.json.
requests:
    .ci/requests

# Writes target/requests.http with tokens of the demo users in it.
requests-local:
    .ci/requests --tokens

# Opens psql on a scratch database with the schema and the demo data. The database is then deleted.
psql:
    cargo run --quiet -- with-database -- sh -c 'psql "$DATABASE_URL"'
