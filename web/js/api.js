// The interface of the device. Refusals come as problems: a code, a sentence, the next step.

export class Problem extends Error {
  constructor(status, body) {
    super(body.message ?? "the device does not answer");
    this.status = status;
    this.code = body.code ?? "unreachable";
    this.next = body.next ?? "look whether the device is on and this network reaches it";
  }
}

let onLoggedOut = () => {};
export function whenLoggedOut(act) { onLoggedOut = act; }
export function loggedOut() { onLoggedOut(); }

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, {});
  }
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  if (answer.status === 401 && !path.endsWith("/session")) onLoggedOut();
  throw new Problem(answer.status, body);
}

export async function get(path, signal) {
  return (await ask(path, { signal })).json();
}

export async function send(method, path, body) {
  const options = body === undefined ? { method } : {
    method, body: JSON.stringify(body), headers: { "content-type": "application/json" },
  };
  return (await ask(path, options)).json();
}

/** Bytes, with a report of how many of them have come. */
export async function bytes(path, progress = () => {}, signal = undefined) {
  const answer = await ask(path, { signal });
  const total = Number(answer.headers.get("x-plain-bytes")) || 0;
  if (!total) return new Uint8Array(await answer.arrayBuffer());
  const whole = new Uint8Array(total);
  const reader = answer.body.getReader();
  let at = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (at + value.length > total) throw new Problem(0, { message: "more came than was announced" });
    whole.set(value, at);
    at += value.length;
    progress(at / total);
  }
  return whole.subarray(0, at);
}

/** An upload, with a report of how much of it has gone. */
export function upload(path, file, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("content-type", "application/octet-stream");
    request.upload.onprogress = (event) => progress(event.loaded / Math.max(1, event.total));
    request.onerror = () => reject(new Problem(0, {}));
    request.onload = () => {
      let body = {};
      try { body = JSON.parse(request.responseText); } catch { /* told as unreachable */ }
      if (request.status < 300) resolve(body);
      else reject(new Problem(request.status, body));
    };
    request.send(file);
  });
}
