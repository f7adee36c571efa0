//! URL, URLSearchParams, URLPattern.

use super::run;

#[test]
fn components_are_cut_out_of_the_serialisation() {
    run(r#"
      const u = new URL('HTTPS://us%40er:p:w@Ex%61mple.COM:8443/a/./b/../c d?x=1&y=%20#frag?#2');
      same(u.href, 'https://us%40er:p%3Aw@example.com:8443/a/c%20d?x=1&y=%20#frag?#2');
      same([u.protocol, u.username, u.password, u.host, u.hostname, u.port, u.pathname, u.search, u.hash, u.origin],
        ['https:', 'us%40er', 'p%3Aw', 'example.com:8443', 'example.com', '8443', '/a/c%20d', '?x=1&y=%20', '#frag?#2',
          'https://example.com:8443']);
      const six = new URL('http://[::1]/');
      same([six.host, six.hostname, six.port, six.pathname], ['[::1]', '[::1]', '', '/']);
      const six2 = new URL('http://[::1]:81');
      same([six2.host, six2.hostname, six2.port], ['[::1]:81', '[::1]', '81']);
      const mail = new URL('mailto:a@b?c#d');
      same([mail.protocol, mail.host, mail.pathname, mail.search, mail.hash, mail.origin], ['mailto:', '', 'a@b', '?c', '#d', 'null']);
      const file = new URL('file:///etc/hosts');
      same([file.host, file.pathname, file.origin], ['', '/etc/hosts', 'null']);
      const odd = new URL('web+x:/.//not-a-host/p');
      same([odd.host, odd.pathname], ['', '//not-a-host/p']);
      const user = new URL('http://u@h/');
      same([user.username, user.password, user.hostname], ['u', '', 'h']);
      const empty = new URL('http://h/?#');
      same([empty.search, empty.hash, empty.href], ['', '', 'http://h/?#']);
      same(new URL('blob:https://a.b/c').origin, 'https://a.b');
      same(new URL('http://münchen.de/ß').href, 'http://xn--mnchen-3ya.de/%C3%9F');
      same(JSON.stringify({ u: new URL('http://a') }), '{"u":"http://a/"}');
    "#);
}

#[test]
fn parsing_resolves_and_refuses() {
    run(r#"
      same(new URL('../x?y', 'http://h/a/b/c').href, 'http://h/a/x?y');
      same(new URL('//o/p', new URL('https://h')).href, 'https://o/p');
      const error = throws(() => new URL('/relative'), 'TypeError');
      same([error.code, error.input], ['ERR_INVALID_URL', '/relative']);
      throws(() => new URL('http://[bad'), 'TypeError');
      throws(() => new URL(), 'TypeError');
      throws(() => new URL(Symbol('x')), 'TypeError');
      same([URL.canParse('x:'), URL.canParse('x'), URL.canParse('x', 'http://h')], [true, false, true]);
      same([URL.parse('nope'), URL.parse('y', 'http://h').href], [null, 'http://h/y']);
      same(URL.parse('http://h/\uD800').href, 'http://h/%EF%BF%BD');
      throws(() => Object.getOwnPropertyDescriptor(URL.prototype, 'href').get.call({}), 'TypeError');
    "#);
}

#[test]
fn setters_follow_the_standard() {
    run(r#"
      const u = new URL('http://h:81/p?q#f');
      u.port = '80'; same(u.href, 'http://h/p?q#f');
      u.port = '8080x'; same(u.port, '8080');
      u.host = 'other:9'; same(u.href, 'http://other:9/p?q#f');
      u.hostname = 'bad host'; same(u.hostname, 'other');
      u.protocol = 'https'; same(u.protocol, 'https:');
      u.protocol = 'foo'; same(u.protocol, 'https:');
      u.pathname = 'a b'; same(u.pathname, '/a%20b');
      u.search = ''; u.hash = ''; same(u.href, 'https://other:9/a%20b');
      u.username = 'me'; u.password = 'x:y'; same(u.href, 'https://me:x%3Ay@other:9/a%20b');
      u.href = 'http://new/'; same(u.href, 'http://new/');
      throws(() => { u.href = 'nope'; }, 'TypeError');
      same(u.href, 'http://new/');
    "#);
}

#[test]
fn search_params_are_bound_to_their_url_both_ways() {
    run(r#"
      const u = new URL('http://h/?a=1&b=2&a=3#f');
      const p = u.searchParams;
      ok(p === u.searchParams);
      p.append('c', 'x y&');
      same(u.href, 'http://h/?a=1&b=2&a=3&c=x+y%26#f');
      p.delete('a', '1'); same(u.search, '?b=2&a=3&c=x+y%26');
      p.set('a', 'é'); same(u.search, '?b=2&a=%C3%A9&c=x+y%26');
      u.search = '?z=1&y=2'; same([...p], [['z', '1'], ['y', '2']]);
      p.sort(); same(u.search, '?y=2&z=1');
      u.href = 'http://h/?k=v'; same(p.get('k'), 'v');
      p.delete('k'); same(u.href, 'http://h/');
    "#);
}

#[test]
fn search_params_stand_alone() {
    run(r#"
      const p = new URLSearchParams('?a=1&a=2&b=%41+%zz&c&=d&&%F0%9F%98%80=%ff');
      same([...p], [['a', '1'], ['a', '2'], ['b', 'A %zz'], ['c', ''], ['', 'd'], ['😀', '\uFFFD']]);
      same([p.size, p.get('a'), p.getAll('a'), p.get('none'), p.has('a', '2'), p.has('a', '3')], [6, '1', ['1', '2'], null, true, false]);
      same(`${new URLSearchParams({ x: 1, y: 'a b', 'ü': "~!'()*-._" })}`, "x=1&y=a+b&%C3%BC=%7E%21%27%28%29*-._");
      same(`${new URLSearchParams([['a', 'b'], new Set(['c', 'd'])])}`, 'a=b&c=d');
      same(`${new URLSearchParams(new Map([['m', 'n']]))}`, 'm=n');
      same(`${new URLSearchParams(p)}`.startsWith('a=1&a=2'), true);
      same(`${new URLSearchParams(undefined)}`, '');
      same([...new URLSearchParams('a=1').keys()], ['a']);
      same([...new URLSearchParams('a=1').values()], ['1']);
      throws(() => new URLSearchParams([['a']]), 'TypeError');
      throws(() => new URLSearchParams([1]), 'TypeError');
      const seen = [];
      new URLSearchParams('a=1&b=2').forEach(function (value, key) { seen.push(key, value, this.t); }, { t: 9 });
      same(seen, ['a', '1', 9, 'b', '2', 9]);
      // An iterator sees changes under way.
      const live = new URLSearchParams('a=1&b=2&c=3');
      const keys = [];
      for (const [key] of live) { keys.push(key); if (key === 'a') live.delete('b'); }
      same(keys, ['a', 'c']);
      same(Object.prototype.toString.call(live), '[object URLSearchParams]');
      same(Object.keys(URL.prototype).includes('href'), true);
    "#);
}

#[test]
fn classes_can_be_extended() {
    run(r#"
      class Mine extends URL { get extra() { return this.pathname + '!'; } }
      const m = new Mine('http://h/p');
      same([m.extra, m instanceof URL, m.searchParams instanceof URLSearchParams], ['/p!', true, true]);
    "#);
}

#[test]
fn patterns_match() {
    run(r#"
      const p = new URLPattern({ pathname: '/books/:id(\\d+)/*' });
      ok(p.test('https://any.com/books/12/x/y'));
      ok(!p.test('https://any.com/books/ab/x'));
      const found = p.exec('https://any.com/books/12/x/y?q=1');
      same(found.pathname.input, '/books/12/x/y');
      same({ ...found.pathname.groups }, { 0: 'x/y', id: '12' });
      same(found.inputs, ['https://any.com/books/12/x/y?q=1']);
      same(found.search.input, 'q=1');
      same(p.exec('https://any.com/'), null);
      ok(new URLPattern('/a/:b', 'https://h').test('/a/1', 'https://h'));
      ok(new URLPattern({ pathname: '/A' }, { ignoreCase: true }).test({ pathname: '/a' }));
      ok(!new URLPattern({ pathname: '/A' }).test({ pathname: '/a' }));
      same([p.pathname, p.protocol, p.hasRegExpGroups], ['/books/:id(\\d+)/*', '*', true]);
      same({ ...new URLPattern({ pathname: '/{:x}?' }).exec({ pathname: '/' }).pathname.groups }, { x: undefined });
      throws(() => new URLPattern('(', 'https://h'), 'TypeError');
      throws(() => new URLPattern('/no-base'), 'TypeError');
      same(p.test('not a url'), false);
    "#);
}
