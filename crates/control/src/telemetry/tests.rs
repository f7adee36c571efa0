use super::*;

#[test]
fn headers_are_pairs() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(headers(""), []);
    assert_eq!(headers("X-Token=a=b, x=y ,junk"), [pair("x-token", "a=b"), pair("x", "y")]);
}
