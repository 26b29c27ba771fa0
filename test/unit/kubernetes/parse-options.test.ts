import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OptionError, parseOptions, quantityOf, type RawOptions } from '../../../src/kubernetes/options.ts';

const IMAGE = { image: 'r.example/cambist@sha256:0123456789abcdef' };

test('every option has its default, or none', () => {
  assert.deepEqual(JSON.parse(JSON.stringify(parseOptions(IMAGE))), {
    ...IMAGE,
    configMap: 'cambist',
    port: 8180,
    adminPort: 9180,
    sidecar: 'native',
    cpuRequest: '50m',
    memoryRequest: '64Mi',
    memoryLimit: '256Mi',
    terminationGracePeriodSeconds: 60,
    proxyEnv: false,
  });
});

const WRONG: readonly (readonly [RawOptions, string])[] = [
  [{ image: 'a b' }, '--image is "a b": must be the name of an image'],
  [{ 'image-pull-policy': 'always' }, '--image-pull-policy is "always": must be one of Always, IfNotPresent, Never'],
  [{ 'config-map': 'Cambist' }, '--config-map is "Cambist": must be the name of a Kubernetes object'],
  [{ secret: '' }, '--secret is "": must be the name of a Kubernetes object'],
  [{ 'token-audience': 'a b' }, '--token-audience is "a b": must be an audience without spaces'],
  [{ port: '0' }, '--port is "0": must be a port from 1 to 65535'],
  [{ 'admin-port': '65536' }, '--admin-port is "65536": must be a port from 1 to 65535'],
  [{ port: '9180' }, '--admin-port is "9180": port and admin-port must differ'],
  [{ 'log-level': 'x' }, '--log-level is "x": must be one of silent, fatal, error, warn, info, debug, trace'],
  [{ sidecar: 'new' }, '--sidecar is "new": must be one of native, classic'],
  [{ 'memory-request': '128MB' }, '--memory-request is "128MB": must be a quantity such as 50m or 128Mi'],
  [{ 'termination-grace-period': '60' }, '--termination-grace-period is "60": must be a duration such as 60s or 2m'],
  [{ 'agent-port': '8081' }, '--agent-port is "8081": has no effect without inbound: remove it'],
  [{ inbound: '8180' }, '--inbound is "8180": must differ from port and admin-port'],
  [{ inbound: '8179' }, '--agent-port is "8180": must be a port other than those of cambist'],
  [{ inbound: '80', 'agent-port': '80' }, '--agent-port is "80": must be a port other than those of cambist'],
  [{ 'proxy-env': 'yes' }, '--proxy-env is "yes": must be one of enabled, disabled'],
];

test('refuses what is invalid, and says what is valid', () => {
  const parse = (raw: RawOptions) => () => parseOptions(raw, (name) => `--${name}`);
  assert.throws(parse({}), new OptionError('--image is missing: set it to the image of cambist'));
  for (const [raw, message] of WRONG) assert.throws(parse({ ...IMAGE, ...raw }), new OptionError(message));
});

test('a limit below the request lowers the request', () => {
  const requests = (raw: RawOptions) => {
    const { cpuRequest, memoryRequest } = parseOptions({ ...IMAGE, ...raw });
    return [cpuRequest, memoryRequest];
  };
  assert.deepEqual(requests({ 'cpu-limit': '0.02', 'memory-limit': '48Mi' }), ['0.02', '48Mi']);
  assert.deepEqual(requests({ 'memory-request': '1Gi' }), ['50m', '256Mi']);
  assert.deepEqual(requests({ 'memory-request': '1Gi', 'memory-limit': 'none' }), ['50m', '1Gi']);
});

test('parses quantities as Kubernetes does', () => {
  const values = {
    '0': 0,
    '100m': 0.1,
    '1.5': 1.5,
    '2k': 2000,
    '1Ki': 1024,
    '128Mi': 134217728,
    '1G': 1e9,
    '1Gi': 1073741824,
  };
  for (const [text, value] of Object.entries(values)) assert.equal(quantityOf(text), value, text);
  for (const text of ['', '-1', '1e3', '1 Mi', '01', '1.', 'Mi', '1K', '1mi'])
    assert.equal(quantityOf(text), undefined, text);
});
