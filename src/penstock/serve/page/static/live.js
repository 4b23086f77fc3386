// The stream of what happens: EventSource resumes by itself within 60 s; beyond that `reset` tells us to ask afresh.

const WAIT_MIN_MS = 1000;
const WAIT_MAX_MS = 20000;
const SILENT_MS = 45000;

/** Events: `reading` (list), `alarm`, `health`, `reset`, and `link` with "open", "waiting" or "refused". */
export class Live extends EventTarget {
  #source = null;
  #query = null;
  #wait = WAIT_MIN_MS;
  #timer = 0;
  #heard = 0;

  /** Follow these tags; without any, all. The same question again changes nothing. */
  follow(tags) {
    const address = `/v1/live?${tags.map((tag) => `tag=${tag}`).join("&")}`;
    if (address === this.#query && this.#source) return;
    this.#query = address;
    this.#open();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = this.#query = null;
  }

  /** Opens anew when nothing was heard for long: a dead network says no goodbye. */
  revive() {
    if (this.#source === null || Date.now() - this.#heard < SILENT_MS) return;
    this.#say("link", "waiting");
    this.#open();
  }

  #open() {
    clearTimeout(this.#timer);
    const before = this.#source;
    const source = (this.#source = new EventSource(this.#query));
    this.#heard = Date.now();
    source.addEventListener("open", () => {
      before?.close();
      this.#opened();
    });
    source.addEventListener("error", () => {
      before?.close();
      if (source === this.#source) this.#lost(source);
    });
    for (const kind of ["reading", "alarm", "health", "reset"]) this.#pass(source, kind);
  }

  #pass(source, kind) {
    source.addEventListener(kind, (event) => {
      if (source !== this.#source) return;
      this.#heard = Date.now();
      this.#say(kind, event.data ? JSON.parse(event.data) : null);
    });
  }

  #opened() {
    this.#heard = Date.now();
    this.#wait = WAIT_MIN_MS;
    this.#say("link", "open");
  }

  #lost(source) {
    const refused = source.readyState === EventSource.CLOSED;
    this.#say("link", refused ? "refused" : "waiting");
    if (!refused) return;
    this.#timer = setTimeout(() => this.#query && this.#open(), this.#wait * (0.7 + 0.6 * Math.random()));
    this.#wait = Math.min(2 * this.#wait, WAIT_MAX_MS);
  }

  #say(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}
