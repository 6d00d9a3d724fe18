"""`python -m service.worker`: a worker process. Started by `service.engine.supervisor`, not by people."""

from service.worker.process import main

if __name__ == "__main__":
    main()
