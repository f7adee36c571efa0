//! Commands that end by themselves: help, new, check, explain, schema, completions.

use serde_json::Value;

use crate::project::{Folder, text};

#[test]
fn help_shows_every_command_with_examples() {
    let folder = Folder::new();
    let help = text(&folder.run(&["--help"]).stdout);
    for word in ["dev", "run", "check", "explain", "new", "schema", "completions", "Start here", "Exit codes"]
    {
        assert!(help.contains(word), "{word}\n{help}");
    }
    for command in ["dev", "run", "check", "explain", "new", "schema", "completions"] {
        let help = text(&folder.run(&[command, "--help"]).stdout);
        assert!(help.contains("Examples:"), "{command}\n{help}");
    }
    let version = text(&folder.run(&["--version"]).stdout);
    assert_eq!(version, format!("polygate {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let folder = Folder::new();
    for arguments in [
        &["serve"][..],
        &["dev", "--listen", "x"],
        &["explain", "."],
        &["check", "--format", "xml"],
        &["schema", "nope"],
        &["run", ".", "--workers", "0"],
    ] {
        let run = folder.run(arguments);
        assert_eq!(run.status.code(), Some(2), "{arguments:?}: {}", text(&run.stderr));
    }
}

#[test]
fn a_new_project_has_no_problems() {
    let folder = Folder::project();
    let check = folder.run(&["check", "shop"]);
    assert_eq!(text(&check.stdout), "no problems\n");
    assert_eq!(check.status.code(), Some(0));
}

#[test]
fn new_leaves_what_is_there_alone() {
    let folder = Folder::new();
    folder.write("shop/notes.txt", "mine");
    let run = folder.run(&["new", "shop"]);
    assert_eq!(run.status.code(), Some(1));
    assert_eq!(text(&run.stderr), "error: shop is not empty: choose another name, or remove it first\n");
    assert_eq!(std::fs::read_dir(folder.path().join("shop")).unwrap().count(), 1);
}

#[test]
fn check_reports_everything_at_once() {
    let folder = Folder::project();
    folder.edit("shop/config/policies.json", "\"options\"", "\"optoins\"");
    folder.edit("shop/config/routes.oas.json", "[\"need-key\"]", "[\"need-kye\"]");
    folder.edit("shop/modules/hello.ts", "return {", "return {{");
    let check = folder.run(&["check", "shop"]);
    assert_eq!(check.status.code(), Some(1));
    let shown = text(&check.stdout);
    for part in [
        "--> config/policies.json:",
        "did you mean `options`?",
        "--> config/routes.oas.json:",
        "did you mean `need-key`?",
        "^^^",
        " errors\n",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "colours without a terminal");
    let coloured = folder.run(&["check", "shop", "--color", "always"]);
    assert!(text(&coloured.stdout).contains("\u{1b}[1;31merror["));

    let json: Value =
        serde_json::from_slice(&folder.run(&["check", "shop", "--format", "json"]).stdout).unwrap();
    let diagnostics = json["diagnostics"].as_array().unwrap();
    assert_eq!(json["errors"], diagnostics.len());
    assert!(
        diagnostics.iter().any(|d| d["file"] == "config/policies.json" && d["nearest"] == "options"),
        "{json:#}"
    );
    assert!(diagnostics.iter().all(|d| d["span"]["line"].is_u64()), "{json:#}");
}

#[test]
fn check_compiles_and_loads_the_modules() {
    let folder = Folder::project();
    folder.edit("shop/modules/hello.ts", "return {", "return {{");
    let check = text(&folder.run(&["check", "shop"]).stdout);
    assert!(check.contains("--> modules/hello.ts:"), "{check}");
    folder.edit("shop/modules/hello.ts", "return {{", "return {");
    folder.edit("shop/modules/need-key.ts", "/** Lets", "throw new Error(\"not today\");\n/** Lets");
    let check = folder.run(&["check", "shop"]);
    let shown = text(&check.stdout);
    assert!(shown.contains("not today") && shown.contains("modules/need-key.ts"), "{shown}");
    assert_eq!(check.status.code(), Some(1));
}

#[test]
fn explain_tells_the_way_of_a_request() {
    let folder = Folder::project();
    let explain = |arguments: &[&str]| {
        let run = folder.run(&[&["explain", "shop"][..], arguments].concat());
        (run.status.code(), text(&run.stdout) + &text(&run.stderr))
    };
    let (code, shown) = explain(&["POST", "/orders/17?x=1"]);
    assert_eq!(code, Some(0), "{shown}");
    for part in
        ["/orders/{id}", "id = \"17\"", "need-key", "./modules/need-key", "cpu 50 ms", "/orders/17?x=1"]
    {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    assert!(!shown.contains("let-me-in"), "{shown}");
    let (code, shown) = explain(&["DELETE", "/orders/17"]);
    assert_eq!(code, Some(1));
    assert!(shown.contains("not with this method") && shown.contains("other method"), "{shown}");
    let (code, shown) = explain(&["GET", "/hello", "--format", "json"]);
    assert_eq!(code, Some(0));
    let json: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(json["route"]["handler"]["kind"], "function");
    assert_eq!(explain(&["GET", "hello"]).0, Some(2));
}

#[test]
fn schemas_are_printed_and_written() {
    let folder = Folder::new();
    let names = text(&folder.run(&["schema"]).stdout);
    assert!(names.lines().any(|name| name == "policies"), "{names}");
    let schema: Value = serde_json::from_slice(&folder.run(&["schema", "policies"]).stdout).unwrap();
    assert!(schema["properties"]["policies"].is_object(), "{schema:#}");
    assert!(folder.run(&["schema", "--out", "schemas"]).status.success());
    let written = std::fs::read_dir(folder.path().join("schemas")).unwrap().count();
    assert_eq!(written, names.lines().count());
}

#[test]
fn completions_are_printed() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&folder.run(&["completions", shell]).stdout);
        assert!(script.contains("explain"), "{shell}");
    }
}

#[test]
fn a_source_that_cannot_run_is_one_clear_line() {
    let folder = Folder::new();
    folder.write("kong.yml", "_format_version: \"3.0\"\n");
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    for (source, part) in [
        ("kong.yml", "looks like a Kong declarative configuration"),
        ("empty", "holds no project"),
        ("nowhere", "there is no nowhere here"),
    ] {
        for command in ["run", "dev", "check"] {
            let run = folder.run(&[command, source]);
            let shown = text(&run.stderr);
            assert_eq!(run.status.code(), Some(1), "{command} {source}");
            assert!(shown.contains(part) && shown.lines().count() == 1, "{shown}");
        }
    }
}
