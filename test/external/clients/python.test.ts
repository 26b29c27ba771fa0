import { STATUS_CODES } from 'node:http';
import { after } from 'node:test';
import { describeError, type ErrorCode } from '../../../src/error-catalogue.ts';
import { declareCallTests, declareInterruptionTests } from '../../harness/client-tests.ts';
import {
  declareBasicTests,
  declareErrorTests,
  declareSignInTests,
  declareUrlErrorTest,
  declareVisitTest,
  whole,
} from './declare.ts';
import { startFastMcpDriver, startPythonDriver, startPythonV1Driver } from './install.ts';

const driver = await startPythonDriver();
const fastMcp = await startFastMcpDriver();
const v1 = await startPythonV1Driver();
after(async () => {
  await v1.close();
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

// Shows the status line alone.
const statusLine = (message: string) => {
  const code = message.slice(0, message.indexOf(':')) as ErrorCode;
  const { status } = describeError(code);
  return `${status} ${STATUS_CODES[status]} (${code})`;
};
const lineShown = { forbidden: statusLine, unreachable: statusLine, signedOut: statusLine, scoped: '403 Forbidden' };
declareErrorTests(v1.sdk('Python SDK 1.x', 'legacy'), lineShown);

declareVisitTest(driver.visiting('Python SDK, negotiated', 'auto'));
declareUrlErrorTest(driver.visiting('Python SDK, legacy', 'legacy'));
declareVisitTest(fastMcp.visiting('FastMCP', 'auto'));
