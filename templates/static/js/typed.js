// What somebody has typed and not sent yet: whether there is any, and how it outlives a session that is over, or a form
// that was refused or never arrived.

const KEPT_AS = "typed";
const fields = () => [...document.querySelectorAll("main :is(input, select, textarea)")];
const hasTick = (field) => ["checkbox", "radio"].includes(field.type);

function differs(field) {
  if (hasTick(field)) return field.checked !== field.defaultChecked;
  if (!field.matches("select")) return field.value !== field.defaultValue;
  const options = [...field.options];
  const before = options.findLast((option) => option.defaultSelected) ?? options[0];
  return field.selectedOptions[0] !== before;
}

// Whether a page that is loaded again would take something out of its user's hands.
export function isInUse() {
  const writes = document.activeElement?.matches("main :is(input, select, textarea)");
  return writes || Boolean(document.querySelector("dialog[open]")) || fields().some(differs);
}

// Of one user and one page, in this tab alone. Passwords and files are not kept. isSent: it is on its way, and what comes
// next tells whether it arrived.
export function keepTyped({ isSent = false } = {}) {
  const { user } = document.body.dataset;
  const typed = fields().filter((field) => field.name && !["password", "file"].includes(field.type) && differs(field));
  if (!user || !typed.length) return;
  const kept = typed.map((field) => ({ ...placeOf(field), value: field.value, checked: field.checked }));
  write({ user, path: location.pathname, kept, isSent });
}

function write(found) {
  try {
    sessionStorage.setItem(KEPT_AS, JSON.stringify(found));
  } catch {
    // Storage may be forbidden or full; then it is lost.
  }
}

export function forgetTyped() {
  try {
    sessionStorage.removeItem(KEPT_AS);
  } catch {
    // Then nothing was kept either.
  }
}

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT_AS));
  } catch {
    return null;
  }
}

const placeOf = (field) => ({ form: field.form?.getAttribute("action"), name: field.name });

// Once, into the same page of the same user. Returns whether there was anything.
export function bringBackTyped() {
  const { user, problem } = document.body.dataset;
  const found = read();
  if (!found) return false;
  if (problem) write({ ...found, isSent: false }); // it was not done, and may be sent once more
  if (problem || !user) return false; // nobody is logged in yet
  const [{ type } = {}] = performance.getEntriesByType("navigation");
  const hasArrived = found.isSent && type === "navigate"; // whoever goes back or loads again has seen no page of ours since
  const isTheirs = found.user === user && !hasArrived;
  if (isTheirs && found.path !== location.pathname) return false;
  forgetTyped();
  if (!isTheirs) return false;
  return found.kept.map(writeBack).some(Boolean);
}

function writeBack({ form, name, value, checked }) {
  const field = fields().find((one) => {
    const place = placeOf(one);
    return place.form === form && place.name === name && (!hasTick(one) || one.value === value);
  });
  if (!field) return false;
  if (hasTick(field)) field.checked = checked;
  else if (!field.matches("select") || [...field.options].some((option) => option.value === value)) field.value = value;
  for (let fold = field.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  return true;
}
