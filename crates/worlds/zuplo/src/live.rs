//! A VM with a project's functions, ready to be called.

use std::cell::Cell;
use std::rc::Rc;

use polygate_engine_js::rquickjs::{Ctx, Result as JsResult, String as JsString, Value};
use polygate_engine_js::{Arguments, CallError, CallScope, DIRECT, Kept, LoadedModule, Vm, VmOptions};
use polygate_pipeline::{Diagnostic, PolicySpec, Role, Services};

use crate::binding::{self, Hooks, HooksSlot, function};
use crate::program::{Compiled, Entry};
use crate::route::Routes;
use crate::{RUNTIME_ALIAS, RUNTIME_MODULE};

/// Timers, fetches and body reads under way in a worker's VM, over all its exchanges: enough for thousands that each
/// wait for one.
const MAX_PENDING_OPS: usize = 10_000;

thread_local! {
    static GENERATION: Cell<u64> = const { Cell::new(0) };
}

/// One VM of a program.
pub(crate) struct Live {
    pub(crate) vm: Vm,
    generation: u64,
    hooks: Hooks,
    routes: Rc<Routes>,
    policies: Vec<Functions>,
    /// Whether `runtimeInit` left hooks for requests.
    pub(crate) request_hooks: bool,
    /// Whether it left hooks for responses.
    pub(crate) sending_hooks: bool,
}

/// A policy's functions by role.
#[derive(Default)]
struct Functions {
    inbound: Option<Bound>,
    outbound: Option<Bound>,
    handler: Option<Bound>,
}

/// A function with its last arguments.
pub(crate) struct Bound {
    run: Rc<Kept>,
    /// A policy's options and name; of a handler of the runtime module, its options.
    more: Rc<[Kept]>,
}

impl Bound {
    /// What is called.
    pub(crate) fn function(&self) -> &Kept {
        &self.run
    }

    /// How many last arguments there are: two at most.
    pub(crate) fn count(&self) -> usize {
        self.more.len()
    }

    /// Adds the last arguments.
    pub(crate) fn push<'js>(&self, ctx: &Ctx<'js>, args: &mut Arguments<'js>) -> JsResult<()> {
        for value in &*self.more {
            args.push(value.get(ctx))?;
        }
        Ok(())
    }
}

impl Live {
    /// Makes a VM and runs the top level of all of the project's modules.
    pub(crate) async fn load(program: &Compiled, services: &Services) -> Result<Self, Vec<Diagnostic>> {
        let slot = HooksSlot::default();
        let memory = program.policies.iter().map(|policy| policy.budget.memory.bytes()).max();
        let defaults = VmOptions::default();
        let options = VmOptions {
            memory_limit: memory
                .and_then(|bytes| usize::try_from(bytes).ok())
                .unwrap_or(defaults.memory_limit),
            max_pending_ops: MAX_PENDING_OPS,
            ..defaults
        };
        let vm = Vm::new(program.modules.clone(), Some(services.clone()), options, |ctx| {
            binding::install(ctx, services.variables(), &program.build_id, &slot)
        })
        .map_err(|error| vec![spawn_failed(&error)])?;
        // Before any module of the project: it takes the native functions away from the global object.
        vm.load(RUNTIME_MODULE).await.map_err(|error| vec![spawn_failed(&error)])?;
        let Some(hooks) = slot.take() else {
            return Err(vec![Diagnostic::error(
                "runtime-module",
                "the runtime module gave no functions back",
            )]);
        };
        let mut live = Self {
            vm,
            generation: GENERATION.replace(GENERATION.get() + 1) + 1,
            hooks,
            routes: Rc::default(),
            policies: Vec::new(),
            request_hooks: false,
            sending_hooks: false,
        };
        live.load_policies(program).await?;
        live.initialise(program).await?;
        Ok(live)
    }

    async fn load_policies(&mut self, program: &Compiled) -> Result<(), Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let mut loaded: Vec<(&str, Option<LoadedModule>)> = Vec::new();
        let direct = match program.modules.module(DIRECT) {
            Some(_) => Some(self.vm.load(DIRECT).await.map_err(|error| vec![spawn_failed(&error)])?),
            None => None,
        };
        for (spec, entry) in program.policies.iter().zip(&program.entries) {
            let module = match entry {
                Entry::Hooks => {
                    self.policies.push(Functions::default());
                    continue;
                }
                Entry::Module(module) | Entry::Template(module, _) => module.as_str(),
            };
            if !loaded.iter().any(|(name, _)| *name == module) {
                let result = self.vm.load(module).await;
                if let Err(error) = &result {
                    problems.push(load_failed(spec, error));
                }
                loaded.push((module, result.ok()));
            }
            let module =
                loaded.iter().find(|(name, _)| *name == module).and_then(|(_, module)| module.as_ref());
            // A module that throws is reported once, however many policies it has.
            let Some(module) = module else { continue };
            let bound =
                self.vm.run(&self.scope(), |ctx| self.bind(ctx, spec, entry, module, direct.as_ref()));
            match bound {
                Ok(Some(functions)) => self.policies.push(functions),
                Ok(None) => problems.push(
                    Diagnostic::error(
                        "not-a-function",
                        format!(
                            "the export {:?} of {:?} is no function",
                            spec.plugin.export, spec.plugin.module
                        ),
                    )
                    .at(spec.file.as_str(), spec.export_span.or(spec.span))
                    .expected("a function"),
                ),
                Err(error) => problems.push(load_failed(spec, &error)),
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Binds a policy's function to its options and name; `None` when its export is no function.
    fn bind<'js>(
        &self,
        ctx: &Ctx<'js>,
        spec: &PolicySpec,
        entry: &Entry,
        module: &LoadedModule,
        direct: Option<&LoadedModule>,
    ) -> JsResult<Option<Functions>> {
        let export = match entry {
            Entry::Template(..) => "default",
            _ => spec.plugin.export.as_str(),
        };
        let Some(run) = module.function(ctx, export)? else { return Ok(None) };
        let run = function(ctx, &run)?;
        let keep = |value: Value<'js>| self.vm.handle().keep(ctx, value);
        if matches!(entry, Entry::Template(..)) {
            let template = function(ctx, &self.hooks.template)?.call((run,))?;
            let inbound = Bound { run: Rc::new(keep(template)), more: Rc::default() };
            return Ok(Some(Functions { inbound: Some(inbound), ..Functions::default() }));
        }
        let options = options(ctx, spec)?;
        let has = |role| spec.roles.contains(&role);
        if spec.roles.is_empty() || has(Role::Inbound) || has(Role::Outbound) {
            // One that is on no route may still be invoked by its name.
            let known = (run.clone(), options.clone(), &*spec.name);
            let () = function(ctx, &self.hooks.know)?.call(known)?;
        }
        // What never awaits is called without a promise.
        let twin = match direct.map(|direct| direct.function(ctx, "of")).transpose()?.flatten() {
            Some(of) => function(ctx, &of)?.call::<_, Option<Value<'js>>>((run.clone(),))?,
            None => None,
        };
        let run = Rc::new(keep(twin.unwrap_or_else(|| run.into_value())));
        let named = || -> JsResult<Bound> {
            let name = JsString::from_str(ctx.clone(), &spec.name)?.into_value();
            Ok(Bound { run: run.clone(), more: Rc::new([keep(options.clone()), keep(name)]) })
        };
        let handler = || {
            // A project's own handlers have no options.
            let builtin = matches!(spec.plugin.module.as_str(), RUNTIME_MODULE | RUNTIME_ALIAS);
            let more: Rc<[Kept]> = if builtin { Rc::new([keep(options.clone())]) } else { Rc::default() };
            Bound { run: run.clone(), more }
        };
        Ok(Some(Functions {
            inbound: has(Role::Inbound).then(named).transpose()?,
            outbound: has(Role::Outbound).then(named).transpose()?,
            handler: has(Role::Handler).then(handler),
        }))
    }

    /// Runs the project's `runtimeInit`.
    async fn initialise(&mut self, program: &Compiled) -> Result<(), Vec<Diagnostic>> {
        let Some(init) = &program.init else { return Ok(()) };
        let failed = |error: &CallError| {
            vec![
                Diagnostic::error("runtime-init", format!("runtimeInit failed: {error}"))
                    .at(init.file.as_str(), None),
            ]
        };
        let module = self.vm.load(&init.module).await.map_err(|error| failed(&error))?;
        let scope = self.scope();
        let run =
            self.vm.run(&scope, |ctx| module.function(ctx, "runtimeInit")).map_err(|error| failed(&error))?;
        let flags = self
            .vm
            .call(
                &scope,
                &self.hooks.initialise,
                |ctx, args| match &run {
                    Some(run) => args.push(function(ctx, run)?),
                    None => Ok(()),
                },
                |_, flags| Ok(flags.as_int().unwrap_or(0)),
            )
            .await
            .map_err(|error| failed(&error))?;
        self.request_hooks = flags & 1 != 0;
        self.sending_hooks = flags & 2 != 0;
        Ok(())
    }

    fn scope(&self) -> Rc<CallScope> {
        CallScope::new(self.vm.handle().load_cpu(), None, None)
    }

    /// Which VM of this worker it is, counted from 1: objects of one are not given to another.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Functions of the runtime module.
    pub(crate) fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// Route objects.
    pub(crate) fn routes(&self) -> &Rc<Routes> {
        &self.routes
    }

    /// The function of a policy in a role.
    pub(crate) fn function(&self, policy: usize, role: Role) -> Option<&Bound> {
        let functions = self.policies.get(policy)?;
        match role {
            Role::Inbound => functions.inbound.as_ref(),
            Role::Outbound => functions.outbound.as_ref(),
            Role::Handler => functions.handler.as_ref(),
        }
    }
}

/// A policy's options as a JavaScript value, `undefined` when it has none.
fn options<'js>(ctx: &Ctx<'js>, spec: &PolicySpec) -> JsResult<Value<'js>> {
    match &spec.config {
        Some(config) => ctx.json_parse(config.to_string()),
        None => Ok(Value::new_undefined(ctx.clone())),
    }
}

fn spawn_failed(error: &CallError) -> Diagnostic {
    Diagnostic::error("runtime-module", format!("the runtime module could not be loaded: {error}"))
}

fn load_failed(spec: &PolicySpec, error: &CallError) -> Diagnostic {
    Diagnostic::error(
        "module-load",
        format!("the module {:?} failed while it was loaded: {error}", spec.plugin.module),
    )
    .at(spec.file.as_str(), spec.span)
}
