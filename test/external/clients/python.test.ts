import { after } from 'node:test';
import { declareCallTests } from '../../harness/client-calls.ts';
import { declareInterruptionTests } from '../../harness/client-interruptions.ts';
import { declareBasicTests } from './basics.ts';
import { declareUrlErrorTest, declareVisitTest } from './consent.ts';
import { declareErrorTests, declareSignInTests, whole } from './errors.ts';
import { startFastMcpDriver, startPythonDriver } from './install.ts';

const driver = await startPythonDriver();
const fastMcp = await startFastMcpDriver();
after(async () => {
  await driver.close();
  await fastMcp.close();
});

// Both show the message of a JSON-RPC error, and nothing of any other body.
const shown = { forbidden: whole, unreachable: whole, signedOut: whole, scoped: 'Server returned an error response' };

for (const sdk of [driver.sdk('Python SDK, legacy', 'legacy'), driver.sdk('Python SDK, negotiated', 'auto')]) {
  declareCallTests(sdk);
  declareInterruptionTests(sdk);
  declareErrorTests(sdk, shown);
}
for (const mode of ['legacy', 'auto'] as const) {
  declareSignInTests(driver.signingIn(`Python SDK, ${mode}, OAuth`, mode), whole);
}

// The client of FastMCP is built on the Python SDK.
declareBasicTests(fastMcp.sdk('FastMCP', 'auto'));
declareErrorTests(fastMcp.sdk('FastMCP', 'auto'), shown);
declareSignInTests(fastMcp.signingIn('FastMCP, OAuth', 'auto'), whole);

declareVisitTest(driver.visiting('Python SDK, negotiated', 'auto'));
declareUrlErrorTest(driver.visiting('Python SDK, legacy', 'legacy'));
declareVisitTest(fastMcp.visiting('FastMCP', 'auto'));
