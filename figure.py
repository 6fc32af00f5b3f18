from ddpm_lightning.cli.figure import main

if __name__ == "__main__":
    main()
