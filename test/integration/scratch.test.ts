import { test } from 'node:test';
import { startPlainGateway, startGateway } from '../harness/gateway.ts';
import { request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { UpstreamHandler } from '../harness/fake-upstream.ts';
function up(url: string, total = 400, headers = {}): Promise<string> { return new Promise((resolve) => {
    const q = request(url, { method: 'POST', agent: false, headers }, (res) => { let s=''; res.on('data', (d) => s += d); res.on('end', () => resolve(res.statusCode + s + ' sent ' + n)); res.on('error', (e)=>resolve('reserr '+e)) });
    q.on('error', (e) => resolve(String(e)));
    const chunk = Buffer.alloc(64 * 1024);
    let n = 0;
    const go = () => { while (n++ < total) if (!q.write(chunk)) return q.once('drain', go); q.end(); };
    go();
  }); }
const gentle: UpstreamHandler = (req, res) => { res.writeHead(413); res.end('too large'); };
const afterSome: UpstreamHandler = (req, res) => { req.message.once('data', () => { res.writeHead(413); res.end('too large'); }); };
const closeLater: UpstreamHandler = async (req, res) => { res.writeHead(413, {'content-length': 9}); res.write('too large'); await delay(300); res.end(); res.destroy(); };
const never: UpstreamHandler = (req, res) => { res.writeHead(413, {'content-length': 9}); res.end('too large'); req.message.pause(); };
for (const [name, h] of Object.entries({ gentle, afterSome, closeLater, never })) for (let i = 0; i < 3; i++)
test('413 mid upload ' + name, async (t) => {
  const g = await startPlainGateway(t, { handler: h });
  const r = await up(g.app.url + '/plain');
  console.log('413 chunked:', name, String(r).slice(0, 60));
  const r2 = await up(g.app.url + '/plain', 400, { 'content-length': 400*65536 });
  console.log('413 length:', name, String(r2).slice(0, 60));
  await delay(50);
  if (i == 0) console.log(g.app.logText().slice(0,1500));
});
test('unreachable', async (t) => {
  const g = await startPlainGateway(t, { route: { upstream: 'http://127.0.0.1:1/mcp' } });
  console.log('UNR', await up(g.app.url + '/plain'));
  console.log('UNR', await up(g.app.url + '/plain', 2, { 'content-length': 2*65536 }));
  console.log(g.app.logText());
});
