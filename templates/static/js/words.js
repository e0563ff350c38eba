// Numbers and prompts as people read them; the same words as the server's.

const steps = [[60, "second"], [60, "minute"], [24, "hour"], [30, "day"], [12, "month"]];

export function relative(then, now = Date.now()) {
  let count = Math.abs(now - then) / 1000;
  let unit = "year";
  for (const [size, name] of steps) {
    if (count < size) {
      unit = name;
      break;
    }
    count /= size;
  }
  if (unit === "second" && count < 10) return "just now";
  const said = `${Math.floor(count)} ${unit}${Math.floor(count) === 1 ? "" : "s"}`;
  return now >= then ? `${said} ago` : `in ${said}`;
}

// A prompt with its concepts set apart.
export function prompt(text) {
  const parts = text.split(/(<[A-Za-z0-9_-]{1,60}>)/);
  return parts.map((part, place) => (place % 2 ? Object.assign(document.createElement("span"), { className: "token", textContent: part }) : part));
}

export function duration(seconds) {
  if (seconds == null) return "";
  if (seconds < 9.95) return `${Math.round(seconds * 10) / 10} s`;
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  if (hours) return `${hours} h ${minutes} min`;
  if (minutes) return rest && minutes < 10 ? `${minutes} min ${rest} s` : `${minutes} min`;
  return `${rest} s`;
}
