import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRequestTarget } from '../../../src/routing/request-target.ts';
import { whyNot } from '../../../src/routing/why-not.ts';
import { routeOf } from './sample-routes.ts';

const github = routeOf('github', { host: 'github.tools.svc', path: '/mcp' });
const wildcard = routeOf('wildcard', { host: '*.tools.svc', path: '/mcp' });
const any = routeOf('any', { path: '/' });

test('says that the host is another', () => {
  const target = parseRequestTarget('/mcp', ['docs.svc']);
  assert.equal(whyNot(github, target, any), 'its host github.tools.svc is not docs.svc');
  assert.equal(whyNot(wildcard, target, any), 'its host *.tools.svc is not docs.svc');
  const labelless = parseRequestTarget('/mcp', ['.tools.svc']);
  assert.equal(whyNot(wildcard, labelless, any), 'its host *.tools.svc is not .tools.svc');
});

test('says that a host is wanted where the request names none', () => {
  assert.equal(whyNot(github, parseRequestTarget('/mcp', []), any), 'it wants the host github.tools.svc');
});

test('says that the path is no prefix in whole segments', () => {
  const target = parseRequestTarget('/mcpx', ['github.tools.svc']);
  assert.equal(whyNot(github, target, any), 'its path /mcp is no whole-segment prefix of /mcpx');
});

test('says that the path of the request is not usable', () => {
  const target = parseRequestTarget('/mcp/..%2fadmin', ['github.tools.svc']);
  assert.match(whyNot(any, target, undefined), /could climb out of a prefix/);
});

test('says which route goes before it, and by what', () => {
  const target = parseRequestTarget('/mcp/x', ['github.tools.svc']);
  assert.equal(whyNot(wildcard, target, github), 'the host of "github" is more exact');
  assert.equal(whyNot(any, target, wildcard), 'the host of "wildcard" is more exact');
  const deeper = routeOf('deeper', { path: '/mcp' });
  assert.equal(whyNot(any, target, deeper), 'the path of "deeper" is longer');
});

test('says that the path has another reading, where that is what keeps it from a route', () => {
  const target = parseRequestTarget('/%6dcp', ['github.tools.svc']);
  assert.match(whyNot(any, target, undefined), /some servers would read the path of the request as another/);
});
