import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { decodeJwt } from 'jose';
import { stringify } from 'yaml';
import { fencedBlocks } from '../../harness/pages.ts';
import { agentDeployment } from '../cluster/objects.ts';
import { AGENT_IMAGE, idp, node, receivedFor, run } from './node.ts';
import { deleteNamespaces, IDLE } from './pods.ts';

const page = readFileSync('deploy/sidecar.md', 'utf8');
const [shortest = '', check = '', withToken = ''] = fencedBlocks(page, 'sh');

test('the shortest way of the page leads to the first call', async (t) => {
  t.after(() => deleteNamespaces('agents'));
  await run('kubectl create namespace agents');
  await node.write('client-secret', 'a-secret\n');
  const token = await idp.mint();
  await node.write('token', token);
  const { spec, ...deployment } = agentDeployment({ name: 'agent' });
  const [agent] = spec.template.spec.containers;
  Object.assign(agent ?? {}, { image: AGENT_IMAGE, command: ['node', '-e', IDLE] });
  await node.write('agent.yaml', stringify({ ...deployment, spec }));
  // The page names the command that waits for the pod.
  const commands = shortest.trim().split('\n').toSpliced(-1, 0, 'kubectl -n agents rollout status deployment/agent');
  assert.equal(commands.length, 6);
  assert.match(await run(commands.join('\n')), /no problem found/);

  const [first = '', second = ''] = check.replaceAll('pod/agent', 'deployment/agent').split(/(?<=port-forward .*\n)/);
  const checks = first.trim().split('\n');
  const forward = checks.pop()?.replace(/ #.*/, '') ?? '';
  const output = await run(checks.join('\n'));
  assert.match(output, /valid: 1 route, 1 authorization server/);
  assert.match(output, /no problem found/);
  assert.match(await run(withToken.replaceAll('pod/agent', 'deployment/agent')), /no problem found/);
  const curls = await run(`${forward} >forward.log & trap "kill $!" EXIT
    until curl -s http://127.0.0.1:9180/livez; do sleep 0.1; done
    ${second} curl -s http://127.0.0.1:8180/github -H "Authorization: Bearer $(cat token)"`);
  for (const seen of [/200 OK.*"ready":true/s, /401.*ERR_SUBJECT_TOKEN_MISSING/s, /^cambist_exchanges_total/m]) {
    assert.match(curls, seen);
  }
  assert.equal(receivedFor(token).aud, 'github-mcp');
});

test('the steps by hand lead to an agent that calls, and says who acts', async (t) => {
  t.after(() => deleteNamespaces('agents'));
  await node.write('client-secret', 'a-secret');
  const byHand = fencedBlocks(page.slice(page.indexOf('## By hand'), page.indexOf('## Your own pod')), 'sh');
  const steps = byHand.map((block) => block.replace(/^.*podmonitor.*\n/m, '').replace(/--watch\n/, '\n'));
  assert.equal(steps.length, 4);
  await run(steps.join('\n').replace('$(git rev-parse HEAD)', 'a-commit'));
  await run('kubectl -n agents wait --for=condition=Ready pod/agent --timeout=60s');
  const url = 'http://127.0.0.1:8180/github';
  const token = await idp.mint();
  const curl = `curl -s -o /dev/null -w %{http_code} -H 'Authorization: Bearer ${token}' ${url}`;
  assert.equal(await run(`kubectl -n agents exec agent -c agent -- ${curl}`), '200');
  const exchange = idp.requests.find(({ form }) => form.get('subject_token') === token);
  const actor = decodeJwt(exchange?.form.get('actor_token') ?? '');
  assert.deepEqual([actor.aud, actor.sub], [[idp.issuer], 'system:serviceaccount:agents:agent']);
});
