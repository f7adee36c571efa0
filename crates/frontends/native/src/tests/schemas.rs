//! The committed schemas are those that the structures give.

use std::path::Path;

#[test]
fn the_committed_schemas_are_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../schemas");
    let renew = std::env::var_os("POLYGATE_RENEW_SCHEMAS").is_some();
    for (name, schema) in crate::schemas() {
        let current = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        let path = folder.join(name);
        if renew {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, current).unwrap();
            continue;
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == current,
            "schemas/{name} is stale: renew it with POLYGATE_RENEW_SCHEMAS=1 cargo test"
        );
    }
}
