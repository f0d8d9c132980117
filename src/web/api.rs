//! The interface as a table: each entry is a path, who may use it, what it answers, and the function
//! that does. The routes and the OpenAPI document are both made from it, so neither can say what
//! the other does not.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use super::access::require;
use super::page_state::PageState;
use super::problem::ProblemBody;
use super::{
    engines, events, images, metrics, overview, queue, queue_lines, scene, session, settings,
    studies, study, study_filter,
};
use crate::config::Role;

mod labelling;

/// Largest body of a request that is no upload.
const MAX_BODY: usize = 64 << 10;
/// Largest edit of labels: a stroke over a whole liver.
const MAX_EDIT: usize = 8 << 20;

/// One entry of the interface.
pub(super) struct Endpoint {
    /// `get`, `post` or `delete`.
    pub method: &'static str,
    /// With `{names}`.
    pub path: &'static str,
    /// In a sentence.
    pub summary: &'static str,
    /// Who may; nobody in particular without.
    pub role: Option<Role>,
    /// What may stand behind the question mark: name and meaning.
    pub query: Query,
    /// What is sent: content type and schema.
    pub takes: Option<(&'static str, Value)>,
    /// Most bytes of what is sent.
    pub most: usize,
    /// What is answered: content type and schema.
    pub gives: (&'static str, Value),
}

/// How an entry begins: its path, who may, a sentence.
type Head = (&'static str, Option<Role>, &'static str);

/// What may stand behind the question mark: name and meaning.
type Query = &'static [(&'static str, &'static str)];

/// The table while it is being written.
pub(super) struct Api {
    /// What is in it.
    pub endpoints: Vec<Endpoint>,
    /// Schemas of everything sent.
    pub schemas: SchemaGenerator,
    /// The routes.
    pub router: Router<Arc<PageState>>,
}

/// JSON, as OpenAPI names it.
const JSON: &str = "application/json";
const NONE: Query = &[];

impl Api {
    fn schema<T: JsonSchema>(&mut self) -> Value {
        self.schemas.subschema_for::<T>().to_value()
    }

    fn add<H, T>(mut self, endpoint: Endpoint, handler: H) -> Api
    where
        H: Handler<T, Arc<PageState>>,
        T: 'static,
    {
        let filter = match endpoint.method {
            "get" => MethodFilter::GET,
            "delete" => MethodFilter::DELETE,
            _ => MethodFilter::POST,
        };
        let mut route: MethodRouter<Arc<PageState>> = on(filter, handler);
        if let Some(role) = endpoint.role {
            route = route.layer(from_fn_with_state(role, require));
        }
        let route = route.layer(DefaultBodyLimit::max(endpoint.most));
        self.router = self.router.route(endpoint.path, route);
        self.endpoints.push(endpoint);
        self
    }

    fn get<A: JsonSchema, H, T>(
        mut self,
        (path, role, summary): Head,
        query: Query,
        handler: H,
    ) -> Api
    where
        H: Handler<T, Arc<PageState>>,
        T: 'static,
    {
        let gives = (JSON, self.schema::<A>());
        let (method, takes, most) = ("get", None, MAX_BODY);
        let entry = Endpoint { method, path, summary, role, query, takes, most, gives };
        self.add(entry, handler)
    }

    /// Answers something else than JSON.
    fn raw<H, T>(self, head: Head, kind: &'static str, handler: H) -> Api
    where
        H: Handler<T, Arc<PageState>>,
        T: 'static,
    {
        self.query(head, NONE, kind, handler)
    }

    /// The same, asked for by what stands behind the question mark.
    fn query<H, T>(
        self,
        (path, role, summary): Head,
        query: Query,
        kind: &'static str,
        handler: H,
    ) -> Api
    where
        H: Handler<T, Arc<PageState>>,
        T: 'static,
    {
        let gives = (kind, serde_json::json!({"type": "string", "format": "binary"}));
        let (method, takes, most) = ("get", None, MAX_BODY);
        let entry = Endpoint { method, path, summary, role, query, takes, most, gives };
        self.add(entry, handler)
    }

    fn change<S: JsonSchema, A: JsonSchema, H, T>(
        mut self,
        (method, most): (&'static str, usize),
        (path, role, summary): Head,
        handler: H,
    ) -> Api
    where
        H: Handler<T, Arc<PageState>>,
        T: 'static,
    {
        let takes = self.schema::<S>();
        let takes = (takes != serde_json::json!({"type": "null"})).then_some((JSON, takes));
        let gives = (JSON, self.schema::<A>());
        let query = NONE;
        let entry = Endpoint { method, path, summary, role, query, takes, most, gives };
        self.add(entry, handler)
    }

    fn upload<A: JsonSchema, H, T>(
        mut self,
        (path, role, summary): Head,
        query: Query,
        handler: H,
    ) -> Api
    where
        H: Handler<T, Arc<PageState>>,
        T: 'static,
    {
        let bytes = serde_json::json!({"type": "string", "format": "binary"});
        let takes = Some(("application/octet-stream", bytes));
        let gives = (JSON, self.schema::<A>());
        let (method, most) = ("post", engines::MAX_PACKAGE);
        let entry = Endpoint { method, path, summary, role, query, takes, most, gives };
        self.add(entry, handler)
    }
}

/// Methods with the most bytes that are sent by them, unless an entry sets its own.
const POST: (&str, usize) = ("post", MAX_BODY);
const DELETE: (&str, usize) = ("delete", MAX_BODY);

/// Largest map that a window sends: a million runs.
const MAX_WINDOW: usize = 64 << 20;

/// Whose labels are looked at.
const WHOSE: Query = &[("whose", "a reader, `labels:NAME`, or `none`")];

const VIEWER: Option<Role> = Some(Role::Viewer);
const ANNOTATOR: Option<Role> = Some(Role::Annotator);
const ADMIN: Option<Role> = Some(Role::Admin);

/// Everything that the interface offers.
pub(super) fn api() -> Api {
    let mut api =
        Api { endpoints: Vec::new(), schemas: SchemaGenerator::default(), router: Router::new() };
    api.schema::<ProblemBody>();
    labelling::cases(volumes(reports(device(api))))
}

/// The device itself.
fn device(api: Api) -> Api {
    api.raw(("/healthz", None, "The program answers."), "text/plain", metrics::healthz)
        .raw(
            ("/readyz", None, "Studies are worked on; 503 with the reasons where not."),
            "text/plain",
            metrics::readyz,
        )
        .raw(
            ("/metrics", None, "Figures for Prometheus; needs a login unless web.open_metrics."),
            "text/plain; version=0.0.4",
            metrics::metrics,
        )
        .get::<session::Session, _, _>(
            ("/api/v1/session", None, "Who is logged in."),
            NONE,
            session::show,
        )
        .change::<session::Login, session::Session, _, _>(
            POST,
            ("/api/v1/session", None, "Log in."),
            session::log_in,
        )
        .change::<(), session::Session, _, _>(
            DELETE,
            ("/api/v1/session", None, "Log out."),
            session::log_out,
        )
        .get::<overview::Overview, _, _>(
            ("/api/v1/overview", VIEWER, "The device now: state, counts, engines, broker, disk."),
            NONE,
            overview::show,
        )
        .get::<overview::Checks, _, _>(
            ("/api/v1/checks", VIEWER, "What `hepalert doctor --quick` finds; takes seconds."),
            NONE,
            overview::checks,
        )
        .get::<settings::Settings, _, _>(
            (
                "/api/v1/settings",
                VIEWER,
                "Every setting, its value, and whether it is the default.",
            ),
            NONE,
            settings::show,
        )
        .get::<engines::Engines, _, _>(
            ("/api/v1/engines", VIEWER, "The slots, what is in them, and what was done of late."),
            NONE,
            engines::show,
        )
        .upload::<engines::Taken, _, _>(
            ("/api/v1/engines", ADMIN, "Install a packed, signed engine."),
            &[("again", "`true` takes one that failed here before")],
            engines::install,
        )
        .change::<engines::Wish, engines::Engines, _, _>(
            POST,
            ("/api/v1/engines/use", ADMIN, "Use another engine from the next study on."),
            engines::switch,
        )
}

/// The queue, the studies and their images.
fn reports(api: Api) -> Api {
    api.get::<queue_lines::QueueState, _, _>(
        ("/api/v1/queue", VIEWER, "What waits, runs and has just ended."),
        NONE,
        queue::show,
    )
    .raw(
        ("/api/v1/events", VIEWER, "The same as a stream of events, one at each change."),
        "text/event-stream",
        events::stream,
    )
    .get::<study_filter::Page, _, _>(
        ("/api/v1/studies", VIEWER, "The studies, newest first, by page."),
        studies::QUERY,
        studies::list,
    )
    .get::<study::Study, _, _>(
        ("/api/v1/studies/{key}", VIEWER, "One study: jobs, report, messages, answers."),
        NONE,
        study::show,
    )
    .change::<(), study::Requeue, _, _>(
        POST,
        ("/api/v1/studies/{key}/requeue", ANNOTATOR, "Put a refused or failed study back."),
        study::requeue,
    )
    .raw(
        (
            "/api/v1/studies/{key}/{revision}/files/{*path}",
            VIEWER,
            "A file that the report lists, or `report.json`.",
        ),
        "application/octet-stream",
        study::file,
    )
}

/// What viewers load.
fn volumes(api: Api) -> Api {
    api.get::<scene::Scene, _, _>(
        (
            "/api/v1/studies/{key}/{revision}/scene",
            VIEWER,
            "What a viewer needs: phases with their grids and windows, layers, lesions.",
        ),
        NONE,
        scene::show,
    )
    .get::<scene::ScenePhase, _, _>(
        (
            "/api/v1/studies/{key}/{revision}/scene/{images}",
            VIEWER,
            "One CT of it: a phase, or a series that was not read, as `series-3`.",
        ),
        NONE,
        scene::one,
    )
    .raw(
        (
            "/api/v1/studies/{key}/{revision}/image/{phase}",
            VIEWER,
            "The CT of a phase, or of another series, as NIfTI in RAS order, whole HU.",
        ),
        "application/octet-stream",
        images::image,
    )
    .raw(
        (
            "/api/v1/studies/{key}/{revision}/layer/{layer}/{phase}",
            VIEWER,
            "Labels on the grid of a phase, one byte per voxel, x fastest, RAS order.",
        ),
        "application/octet-stream",
        images::layer,
    )
    .raw(
        (
            "/api/v1/studies/{key}/{revision}/gains/{phase}",
            VIEWER,
            "Voxels that turn to lesion at some gain: count, indices (u32), classes (u8), steps (i16).",
        ),
        "application/octet-stream",
        images::gains,
    )
}
