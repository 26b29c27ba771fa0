import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OptionError, parseOptions, type WrittenOptions } from '../../../src/kubernetes/options.ts';
import { quantityOf } from '../../../src/kubernetes/quantity.ts';

const IMAGE = { image: 'r.example/cambist@sha256:0123456789abcdef' };

test('what is not written has a default', () => {
  assert.deepEqual(parseOptions(IMAGE), {
    ...IMAGE,
    imagePullPolicy: undefined,
    configMap: 'cambist',
    secret: undefined,
    tokenAudience: undefined,
    port: 8180,
    adminPort: 9180,
    logLevel: undefined,
    sidecar: 'native',
    cpuRequest: '50m',
    memoryRequest: '128Mi',
    cpuLimit: undefined,
    memoryLimit: '256Mi',
    terminationGracePeriodSeconds: 60,
    proxyEnv: false,
  });
});

const WRONG: Readonly<Record<string, [WrittenOptions, string]>> = {
  'no image': [{}, '--image is missing: name the image of cambist'],
  'an image with a space': [{ image: 'a b' }, '--image is "a b": write the name of an image'],
  'a pull policy': [
    { 'image-pull-policy': 'always' },
    '--image-pull-policy is "always": write Always, IfNotPresent, Never',
  ],
  'a name in capitals': [{ 'config-map': 'Cambist' }, '--config-map is "Cambist": write the name of an object'],
  'an empty name': [{ secret: '' }, '--secret is "": write the name of an object'],
  'an audience with a space': [
    { 'token-audience': 'a b' },
    '--token-audience is "a b": write the audience, without spaces',
  ],
  'port 0': [{ port: '0' }, '--port is "0": write a port, 1 to 65535'],
  'port 65536': [{ 'admin-port': '65536' }, '--admin-port is "65536": write a port, 1 to 65535'],
  'two of the same port': [{ port: '9180' }, '--admin-port is "9180": port and admin-port must differ'],
  'a log level': [
    { 'log-level': 'verbose' },
    '--log-level is "verbose": write fatal, error, warn, info, debug, trace, silent',
  ],
  'a form': [{ sidecar: 'new' }, '--sidecar is "new": write native, classic'],
  'a quantity': [{ 'memory-request': '128MB' }, '--memory-request is "128MB": write a quantity, like 50m or 128Mi'],
  'a request above its limit': [{ 'memory-request': '1Gi' }, '--memory-request is "1Gi": more than the limit 256Mi'],
  'a time': [{ 'termination-grace-period': '60' }, '--termination-grace-period is "60": write a time, like 60s or 2m'],
  'proxy-env': [{ 'proxy-env': 'yes' }, '--proxy-env is "yes": write enabled, disabled'],
};

for (const [what, [written, message]] of Object.entries(WRONG)) {
  test(`refused with what is possible: ${what}`, () => {
    const options = what === 'no image' ? {} : { ...IMAGE, ...written };
    assert.throws(() => parseOptions(options, (name) => `--${name}`), new OptionError(message));
  });
}

test('quantities have the value that Kubernetes gives them', () => {
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
