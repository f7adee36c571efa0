//! A route's handler: what is built in, or a function of the project.

use std::sync::Arc;

use http::StatusCode;
use polygate_pipeline::{Budget, Diagnostic, OnFailure, PluginRef, PolicySpec, Role, Target};
use polygate_plan::{Expression, Forward, ForwardTo, Handler, Policy, Template, TemplateError, Upstream};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::check::decode;
use crate::env;
use crate::import::{self, Module, RUNTIME};
use crate::policies::{Policies, TYPESCRIPT};
use crate::raw::handlers::{ForwardOptions, RedirectOptions, RewriteOptions};
use crate::source::Project;
use crate::tree::Node;

/// The built-in handlers.
pub(crate) const BUILT_IN: [&str; 3] = ["urlForwardHandler", "urlRewriteHandler", "redirectHandler"];

/// Handlers of the TypeScript ecosystem that are known but not built in yet.
const NOT_YET: [&str; 7] = [
    "openApiSpecHandler",
    "awsLambdaHandler",
    "webSocketHandler",
    "mcpServerHandler",
    "aiGatewayHandler",
    "aiGatewayHandlerV2",
    "McpProxyHandler",
];

/// What a handler is made with.
pub(crate) struct Place<'a> {
    pub(crate) file: &'a str,
    /// The handler's field path.
    pub(crate) path: &'a str,
    /// The handler as written.
    pub(crate) node: &'a Node,
    /// What to name a function after.
    pub(crate) name: &'a str,
    pub(crate) upstreams: &'a [Upstream],
    pub(crate) budget: &'a Budget,
}

/// A handler, and the policy that must stand directly before it, if there is one.
pub(crate) struct Made {
    pub(crate) handler: Handler,
    pub(crate) before: Option<usize>,
}

impl Place<'_> {
    /// Makes the handler; what is wrong is reported.
    pub(crate) fn make(&self, project: &mut Project<'_>, policies: &mut Policies) -> Option<Made> {
        let module = self.node.get("module")?;
        let export = self.node.get("export")?;
        let name = export.as_str()?;
        match import::module(project, module, self.file, &self.at("module"))? {
            Module::File(path) => {
                let options = self.options(project, &[]).map(|options| options.to_json());
                let plugin = PluginRef { module: path, export: name.to_owned() };
                let function = self.policy(self.name.into(), plugin, options, Role::Handler);
                Some(Made { handler: Handler::Function(policies.add(function)), before: None })
            }
            Module::BuiltIn => match name {
                "urlForwardHandler" => self.forward(project, policies),
                "urlRewriteHandler" => self.rewrite(project, policies),
                "redirectHandler" => self.redirect(project),
                _ => {
                    let problem = if NOT_YET.contains(&name) {
                        Diagnostic::error(
                            "not-supported",
                            format!("the handler {name:?} is not supported yet"),
                        )
                    } else {
                        Diagnostic::error("unknown-handler", format!("there is no built-in handler {name:?}"))
                            .nearest(name, BUILT_IN)
                    };
                    let problem = problem.at(self.file, Some(export.span)).field(self.at("export"));
                    let expected = format!("one of {}, or a function of a module", BUILT_IN.join(", "));
                    project.report(problem.expected(expected));
                    None
                }
            },
        }
    }

    fn forward(&self, project: &mut Project<'_>, policies: &mut Policies) -> Option<Made> {
        let (written, options) = self.decode::<ForwardOptions>(project, &["baseUrl"])?;
        let (to, before, upstream) = match (&options.base_url, &options.upstream) {
            (Some(_), None) => {
                let (to, before) =
                    self.template(project, policies, &written, "baseUrl", options.forward_search)?;
                (to, before, None)
            }
            (None, Some(name)) => {
                let Some(index) = self.upstreams.iter().position(|upstream| upstream.name == *name) else {
                    let node = written.get("upstream")?;
                    let names = self.upstreams.iter().map(|upstream| upstream.name.as_str());
                    let message = match node.secret {
                        true => "there is no upstream of that name".to_owned(),
                        false => format!("there is no upstream {name:?}"),
                    };
                    let mut problem = Diagnostic::error("unknown-upstream", message)
                        .at(self.file, Some(node.span))
                        .field(self.at("options.upstream"))
                        .expected(match self.upstreams {
                            [] => "an [upstreams.NAME] in polygate.toml; there is none".to_owned(),
                            _ => format!("one of {}", names.clone().collect::<Vec<_>>().join(", ")),
                        });
                    if !node.secret {
                        problem = problem.nearest(name, names);
                    }
                    project.report(problem);
                    return None;
                };
                (ForwardTo::Upstream(index), None, Some(index))
            }
            (base, _) => {
                let problem = match base {
                    Some(_) => Diagnostic::error("two-spellings", "both baseUrl and upstream stand here"),
                    None => {
                        Diagnostic::error("missing-field", "the handler has neither baseUrl nor upstream")
                    }
                };
                let problem = problem.at(self.file, Some(written.span)).field(self.at("options"));
                project.report(problem.expected("baseUrl, or upstream"));
                return None;
            }
        };
        let (search, follow_redirects) = (options.forward_search, options.follow_redirects);
        let forward = Forward { to, search, follow_redirects, upstream };
        Some(Made { handler: Handler::Forward(forward), before })
    }

    fn rewrite(&self, project: &mut Project<'_>, policies: &mut Policies) -> Option<Made> {
        let (written, options) = self.decode::<RewriteOptions>(project, &["rewritePattern"])?;
        let (to, before) =
            self.template(project, policies, &written, "rewritePattern", options.forward_search)?;
        let (search, follow_redirects) = (options.forward_search, options.follow_redirects);
        let forward = Forward { to, search, follow_redirects, upstream: None };
        Some(Made { handler: Handler::Forward(forward), before })
    }

    fn redirect(&self, project: &mut Project<'_>) -> Option<Made> {
        let (written, options) = self.decode::<RedirectOptions>(project, &[])?;
        let node = written.get("location")?;
        let at =
            |problem: Diagnostic| problem.at(self.file, Some(node.span)).field(self.at("options.location"));
        let location = match Template::parse(&options.location) {
            Ok(location) => location,
            Err(error) => {
                let problem = match error {
                    TemplateError::Unclosed(_) => Diagnostic::error("bad-template", "`${` is never closed"),
                    TemplateError::NeedsScript(..) => {
                        Diagnostic::error("not-supported", "this expression is not supported in a location")
                    }
                };
                project.report(at(problem).expected(
                    "a path or URL with expressions such as ${params.id}, ${env.NAME} or ${pathname}",
                ));
                return None;
            }
        };
        if options.location.bytes().any(|b| b.is_ascii_control()) {
            project.report(at(Diagnostic::error("bad-url", "the location holds control characters")));
        }
        self.warn_of_unset(project, &location, node, "options.location");
        let status = StatusCode::from_u16(options.status).ok()?;
        Some(Made { handler: Handler::Redirect { location, status }, before: None })
    }

    /// The template of one option: where it leads, and the policy that renders it when it needs JavaScript.
    fn template(
        &self,
        project: &mut Project<'_>,
        policies: &mut Policies,
        options: &Node,
        option: &str,
        forward_search: bool,
    ) -> Option<(ForwardTo, Option<usize>)> {
        let node = options.get(option)?;
        let text = node.as_str()?;
        let path = self.at(&format!("options.{option}"));
        let at = |problem: Diagnostic| problem.at(self.file, Some(node.span)).field(path.clone());
        if env::is_reference(text) {
            let problem = Diagnostic::warning("literal-env", "$env(...) is not substituted here");
            project.report(at(problem).expected("${env.NAME}"));
        }
        let parsed = Template::parse(text);
        if let Err(TemplateError::Unclosed(_)) = parsed {
            project.report(at(Diagnostic::error("bad-template", "`${` is never closed")));
            return None;
        }
        if let Some(problem) = bad_url(text, parsed.as_ref().ok()) {
            let expected = "a URL such as https://example.com or ${env.BASE_URL}";
            project.report(at(Diagnostic::error("bad-url", problem)).expected(expected));
            return None;
        }
        match parsed {
            Ok(template) => {
                self.warn_of_unset(project, &template, node, &format!("options.{option}"));
                let to =
                    if option == "baseUrl" { ForwardTo::Base(template) } else { ForwardTo::Url(template) };
                Some((to, None))
            }
            Err(_) => {
                let mode = if option == "baseUrl" { "forward" } else { "rewrite" };
                let config = json!({ "template": text, "mode": mode, "forwardSearch": forward_search });
                let plugin = PluginRef { module: RUNTIME.to_owned(), export: "template".to_owned() };
                let name = format!("{} (URL)", self.name).into();
                let index = policies.add(self.policy(name, plugin, Some(config), Role::Inbound));
                Some((ForwardTo::Exchange, Some(index)))
            }
        }
    }

    fn warn_of_unset(&self, project: &mut Project<'_>, template: &Template, node: &Node, option: &str) {
        for mut expression in template.expressions() {
            while let Expression::Encode(inner) = expression {
                expression = inner;
            }
            if let Expression::Env(name) = expression
                && !project.variables.contains_key(name)
            {
                let message = format!("the environment variable {name} is not set");
                let problem = Diagnostic::warning("unset-variable", message);
                project.report(problem.at(self.file, Some(node.span)).field(self.at(option)));
            }
        }
    }

    /// The options with environment variables put in; those named in `keep` stay as they are.
    fn options(&self, project: &Project<'_>, keep: &[&str]) -> Option<Node> {
        env::substitute(self.node.get("options")?, &project.variables, keep)
    }

    fn decode<T: JsonSchema + DeserializeOwned>(
        &self,
        project: &mut Project<'_>,
        keep: &[&str],
    ) -> Option<(Node, T)> {
        let options = self
            .options(project, keep)
            .unwrap_or_else(|| Node::new(crate::tree::Value::Object(Vec::new()), self.node.span));
        let decoded = decode::<T>(&options, self.file, &self.at("options"), &mut project.found)?;
        Some((options, decoded))
    }

    /// A policy that no file names. Without it nothing answers, or nobody knows where to forward to: it cannot be
    /// skipped, whatever `[budget] on-failure` says of others.
    fn policy(&self, name: Arc<str>, plugin: PluginRef, config: Option<Value>, role: Role) -> Policy {
        let spec = PolicySpec {
            name,
            plugin,
            config,
            roles: vec![role],
            budget: Budget { on_failure: OnFailure::Closed, ..*self.budget },
            file: self.file.to_owned(),
            span: self.node.get("module").map(|node| node.span),
            export_span: self.node.get("export").map(|node| node.span),
        };
        Policy { world: TYPESCRIPT.into(), spec }
    }

    fn at(&self, field: &str) -> String {
        format!("{}.{field}", self.path)
    }
}

/// What is wrong with a URL as far as it is known before there is a request.
fn bad_url(text: &str, template: Option<&Template>) -> Option<String> {
    if template.is_some_and(|template| template.as_text().is_some()) {
        return Target::parse(text).err().map(|error| error.to_string());
    }
    let head = text.split("${").next().unwrap_or_default().to_ascii_lowercase();
    let fits = |scheme: &str| scheme.starts_with(&head) || head.starts_with(scheme);
    (!fits("http://") && !fits("https://")).then(|| "the scheme is not http or https".to_owned())
}
