"""One step of ThermoLion in every form: reference, foreach, CPU chunks, Triton."""
