import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { getIn, type JsonObject, objectsOf } from '../../../src/kubernetes/json.ts';
import { parseOptions } from '../../../src/kubernetes/options.ts';
import { sidecarContainer, sidecarVolumes } from '../../../src/kubernetes/sidecar.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { runCommand } from '../../harness/run-command.ts';
import { configOf, podSpec, renderChart, renderKustomization } from './render.ts';
import { VALUES } from './values.ts';

test("the gateway's container equals the sidecar's, except for what a Service needs", async () => {
  const options = parseOptions({
    image: 'registry.example.com/cambist:0.1.0',
    'config-map': 'cambist-gateway',
    secret: 'cambist',
    'token-audience': 'https://idp.example.com',
  });
  const { gateway, ...more } = VALUES.gateway;
  const values = { ...more, gateway: { ...gateway, tokenAudience: options.tokenAudience } };
  const spec = podSpec(await renderChart(values));
  const [{ lifecycle, resources, ports, ...container } = {} as JsonObject] = objectsOf(spec.containers);
  const { resources: _, ports: sidecarPorts, restartPolicy, ...sidecar } = sidecarContainer(options, 60);
  assert.equal(restartPolicy, 'Always');
  assert.deepEqual(container, sidecar);
  assert.deepEqual(ports, [{ name: 'http', containerPort: 8180 }, ...objectsOf(sidecarPorts)]);
  assert.deepEqual(spec.volumes, sidecarVolumes(options));
  const sleepSeconds = Number(getIn(lifecycle, ['preStop', 'sleep', 'seconds']));
  assert.ok(sleepSeconds + 25 < Number(spec.terminationGracePeriodSeconds));
  assert.ok(getIn(resources, ['limits', 'memory']));
});

test('cambist accepts the config of every rendering', async (t) => {
  const folder = temporaryFolder(t);
  for (const rendered of [
    await renderChart(VALUES.gateway),
    await renderChart(VALUES.everything),
    await renderKustomization('gateway/base'),
    await renderKustomization('gateway/example'),
    await renderKustomization('gateway/agents'),
    await renderChart(VALUES['gateway with agents']),
    await renderKustomization('gateway/shared-cache'),
    await renderChart(VALUES['gateway with a shared cache']),
  ]) {
    const file = join(folder, 'cambist.yaml');
    await writeFile(file, configOf(rendered));
    const { code, stdout, stderr } = await runCommand(['validate', '--config', file]);
    assert.equal(code, 0, stdout + stderr);
  }
});
